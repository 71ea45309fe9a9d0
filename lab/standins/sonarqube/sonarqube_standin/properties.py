"""Settings as SonarQube reads them: a Java properties file, and what its values must be."""

import re
from collections.abc import Mapping

JDBC = "jdbc:postgresql:"
SHORTEST_PASSWORD = 12
CLASSES = {
    "one uppercase character": r"[A-Z]",
    "one lowercase character": r"[a-z]",
    "one digit": r"[0-9]",
    "one special character": r"[^A-Za-z0-9]",
}


def unescaped(text: str) -> str:
    """Return a value without Java's escapes, of which this project writes those of signs."""
    return re.sub(r"\\(.)", r"\1", text)


def properties(text: str) -> dict[str, str]:
    """Return name -> value of a properties file; continued lines are not known here."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (re.split(r"\s*[=:]\s*|\s+", line, maxsplit=1) for line in lines if line and line[0] not in "#!")
    return {unescaped(pair[0]): unescaped(pair[1]) if len(pair) > 1 else "" for pair in pairs}


def database_url(settings: Mapping[str, str]) -> str:
    """Return where the database is, `postgresql://host:port/name`. Raises ValueError for another kind."""
    url = settings["sonar.jdbc.url"]
    if not url.startswith(JDBC):
        raise ValueError("sonar.jdbc.url is no address of a PostgreSQL database")
    return url.removeprefix("jdbc:")


def weakness(password: str) -> str:
    """Return why SonarQube refuses a new password; an empty text if it does not."""
    if len(password) < SHORTEST_PASSWORD:
        return f"Password must be at least {SHORTEST_PASSWORD} characters long"
    missing = [what for what, sign in CLASSES.items() if not re.search(sign, password)]
    return f"Password must contain at least {missing[0]}" if missing else ""
