"""Checking what a file holds against a table of its fields, with Kong's messages.

A field is a type, a list of one field, a record of fields by name, or a tuple of the values that are
implemented. A record needs all its fields but those whose name ends in `?`.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

Field: TypeAlias = Any
# What a file holds: its type is what is being checked.
Value: TypeAlias = Any
UNKNOWN = "unknown field; this stand-in for Kong has only the fields this project sets"
TYPES = {
    str: "expected a string", bool: "expected a boolean", int: "expected an integer",
    dict: "expected a record", list: "expected an array",
}  # fmt: skip


class InvalidError(ValueError):
    """A configuration that must not be loaded: all that is wrong, a line each."""


def wrong(path: str, message: str) -> str:
    """Return what is wrong, and where: `services[1].retries`."""
    return f"in '{path}': {message}"


def problems_of(field: Field, value: Value, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a value."""
    if isinstance(field, tuple):
        if value not in field:
            done = ", ".join(map(str, field))
            yield wrong(path, f"expected one of: {done}; this stand-in for Kong cannot do {value}")
        return
    wanted, found = field if isinstance(field, type) else type(field), type(value)
    if found is not wanted:
        yield wrong(path or "file", TYPES[wanted])
    elif isinstance(field, list):
        for index, member in enumerate(value, start=1):
            yield from problems_of(field[0], member, f"{path}[{index}]")
    elif isinstance(field, dict):
        known = {name.removesuffix("?"): member for name, member in field.items()}
        for name in {**known, **value}:
            inside = f"{path}.{name}" if path else name
            if name not in known:
                yield wrong(inside, UNKNOWN)
            elif name in value:
                yield from problems_of(known[name], value[name], inside)
            elif name in field:
                yield wrong(inside, "required field missing")
