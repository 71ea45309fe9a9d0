"""PostgREST's configuration file: `name = value` lines, strings in quotes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

# What this project sets, and what kind of value it is. The real one ignores a name it does not know, and so a
# typing error.
KNOWN = {
    "db-uri": str, "db-schemas": str, "db-anon-role": str, "db-pool": int, "db-max-rows": int,
    "db-config": bool, "server-host": str, "server-port": int, "admin-server-port": int, "log-level": str,
}  # fmt: skip
LOG_LEVELS = ("crit", "error", "warn", "info", "debug")


def settings(text: str) -> dict[str, Any]:
    """Return name -> value. Raises ValueError for a line that is none, and an unknown or missing name."""
    found: dict[str, Any] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, value = (part.strip() for part in line.partition("="))
        if name not in KNOWN:
            raise ValueError(f"line {number}: {name} is no setting this stand-in knows")
        try:
            found[name] = json.loads(value)
        except ValueError as problem:
            raise ValueError(f"line {number}: the value of {name} cannot be read") from problem
        if type(found[name]) is not KNOWN[name]:
            raise ValueError(f"line {number}: the value of {name} cannot be read")
    if missing := KNOWN.keys() - found.keys():
        raise ValueError(f"{', '.join(sorted(missing))}: this stand-in has no default")
    return found


@dataclass(frozen=True)
class Config:
    """The settings this stand-in keeps."""

    uri: str = field(repr=False)
    schema: str
    anonymous: str
    max_rows: int
    host: str
    port: int
    admin_port: int

    @classmethod
    def of(cls, text: str) -> Config:
        """Read a configuration file. Raises ValueError saying what is wrong."""
        found = settings(text)
        if found["admin-server-port"] == found["server-port"]:
            raise ValueError("admin-server-port cannot be the same as server-port")
        if found["log-level"] not in LOG_LEVELS:
            raise ValueError("Invalid logging level. Check your configuration.")
        if found["server-host"][:1] in ("*", "!"):
            raise ValueError(f"server-host is {found['server-host']}, which `--ready` cannot ask")
        if "," in found["db-schemas"] or found["db-config"]:
            raise ValueError("this stand-in knows one schema, and no settings in the database")
        return cls(
            uri=found["db-uri"], schema=found["db-schemas"], anonymous=found["db-anon-role"],
            max_rows=found["db-max-rows"], host=found["server-host"], port=found["server-port"],
            admin_port=found["admin-server-port"],
        )  # fmt: skip

    def ready_url(self) -> str:
        """Return what `--ready` asks."""
        return f"http://{self.host}:{self.admin_port}/ready"
