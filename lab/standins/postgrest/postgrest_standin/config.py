"""PostgREST's configuration file: `name = value` lines, strings in quotes. So far it is TOML."""

import tomllib
from typing import Any

# What this project sets, and what kind of value it is. The real one ignores a name it does not know, and so a
# typing error.
KNOWN = {
    "db-uri": str, "db-schemas": str, "db-anon-role": str, "db-pool": int, "db-max-rows": int,
    "db-config": bool, "jwt-secret": str, "server-host": str, "server-port": int, "admin-server-port": int,
    "log-level": str,
}  # fmt: skip
Settings = dict[str, Any]


def settings_of(text: str) -> Settings:
    """Return name -> value. Raises ValueError for what is no such file, and an unknown or missing name."""
    found = tomllib.loads(text)
    if strange := sorted(found.keys() ^ KNOWN.keys()):
        raise ValueError(f"{', '.join(strange)}: unknown to this stand-in, or missing: it has no default")
    for name, kind in KNOWN.items():
        if type(found[name]) is not kind:
            raise ValueError(f"{name}: must be of type {kind.__name__}")
    return found
