"""Settings as SonarQube reads them: a Java properties file, and the address of the database in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

JDBC = re.compile(r"jdbc:postgresql://(?P<host>[^:/]+)(:(?P<port>\d+))?/(?P<name>[A-Za-z0-9_-]+)")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f"}


def unescaped(text: str) -> str:
    """Return a value without Java's escapes."""
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), text)


def properties(text: str) -> dict[str, str]:
    """Return name -> value of a properties file; continued lines are not known here."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (re.split(r"\s*[=:]\s*|\s+", line, maxsplit=1) for line in lines if line and line[0] not in "#!")
    return {unescaped(pair[0]): unescaped(pair[1]) if len(pair) > 1 else "" for pair in pairs}


@dataclass(frozen=True)
class Database:
    """Where the database is, and who enters it."""

    host: str
    port: int
    name: str
    user: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, settings: Mapping[str, str]) -> Database:
        """Read the settings below `sonar.jdbc`. Raises ValueError without a PostgreSQL address."""
        found = JDBC.fullmatch(settings.get("sonar.jdbc.url", ""))
        if found is None:
            raise ValueError("sonar.jdbc.url is no address of a PostgreSQL database")
        user, password = settings.get("sonar.jdbc.username", ""), settings.get("sonar.jdbc.password", "")
        return cls(found["host"], int(found["port"] or 5432), found["name"], user, password)
