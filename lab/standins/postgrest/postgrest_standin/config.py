"""PostgREST's configuration file: `name = value` lines, strings in quotes."""

import json
from typing import Any

# What this project sets, and what kind of value it is. The real one ignores a name it does not know, and so a
# typing error.
KNOWN = {
    "db-uri": str, "db-schemas": str, "db-anon-role": str, "db-pool": int, "db-max-rows": int,
    "db-config": bool, "server-host": str, "server-port": int, "admin-server-port": int, "log-level": str,
}  # fmt: skip
Settings = dict[str, Any]


def settings_of(text: str) -> Settings:
    """Return name -> value. Raises ValueError for a line that is none, and an unknown or missing name."""
    found: Settings = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, _, value = (part.strip() for part in line.partition("="))
        if name not in KNOWN:
            raise ValueError(f"line {number}: {name} is no setting this stand-in knows")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = None
        if type(found[name]) is not KNOWN[name]:
            raise ValueError(f"line {number}: the value of {name} cannot be read")
    if missing := KNOWN.keys() - found.keys():
        raise ValueError(f"{', '.join(sorted(missing))}: this stand-in has no default")
    return found
