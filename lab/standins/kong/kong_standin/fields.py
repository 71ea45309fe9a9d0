"""Checking what a file holds against a table of its fields, with Kong's messages.

A field is a type, a function that says what is wrong with a value, a list of one field, a record of fields by
name, or else the one value that this stand-in does where Kong does more. All are required but a `Default`.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Field: TypeAlias = Any
# What a file holds: its type is what is being checked.
Value: TypeAlias = Any
Check = Callable[[Value], str | None]
UNKNOWN = "unknown field; this stand-in for Kong has only the fields this project sets"
TYPES = {str: "expected a string", bool: "expected a boolean", dict: "expected a record"}


@dataclass(frozen=True)
class Default:
    """A field that may be left out, and what Kong takes then."""

    value: Value
    field: Field


class InvalidError(Exception):
    """A configuration that must not be loaded: all that is wrong, a line each."""


def wrong(path: str, message: str) -> str:
    """Return what is wrong, and where: `services[1].retries`."""
    return f"in '{path}': {message}"


def between(low: float, high: float, *, whole: bool = True) -> Check:
    """Return a check for a number within limits."""

    def check(value: Value) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return "expected an integer" if whole else "expected a number"
        return None if low <= value <= high else f"value should be between {low:.15g} and {high:.15g}"

    return check


def text(problem: Callable[[str], str | None]) -> Check:
    """Return a check for a string."""
    return lambda value: problem(value) if isinstance(value, str) else TYPES[str]


def matching(pattern: str, what: str) -> Check:
    """Return a check for a string of this form; `what` says what it must be."""
    form = re.compile(pattern)
    return text(lambda value: None if form.fullmatch(value) else f"invalid value '{value}': must be {what}")


def problems_of(field: Field, value: Value, path: str) -> Iterator[str]:
    """Yield what is wrong with one value."""
    if isinstance(field, Default):
        yield from problems_of(field.field, value, path)
    elif isinstance(field, dict):
        yield from record_problems(field, value, path)
    elif isinstance(field, list):
        if not isinstance(value, list):
            yield wrong(path, "expected an array")
            return
        for index, member in enumerate(value, start=1):
            yield from problems_of(field[0], member, f"{path}[{index}]")
    elif isinstance(field, type):
        if not isinstance(value, field):
            yield wrong(path, TYPES[field])
    elif callable(field):
        if problem := field(value):
            yield wrong(path, problem)
    elif value != field or type(value) is not type(field):
        yield wrong(path, f"expected one of: {field}; this stand-in for Kong does no other, not {value}")


def record_problems(fields: dict[str, Field], record: Value, path: str = "") -> Iterator[str]:
    """Yield what is wrong with a record: unknown, missing and bad fields."""
    if not isinstance(record, dict):
        yield wrong(path or "file", "expected a record")
        return
    prefix = f"{path}." if path else ""
    for name in [name for name in record if name not in fields]:
        yield wrong(f"{prefix}{name}", UNKNOWN)
    for name, field in fields.items():
        if record.get(name) is not None:
            yield from problems_of(field, record[name], f"{prefix}{name}")
        elif not isinstance(field, Default):
            yield wrong(f"{prefix}{name}", "required field missing")


def filled(field: Field, value: Value) -> Value:
    """Return a good value with all defaults, also those of the records in it."""
    if isinstance(field, Default):
        return filled(field.field, field.value if value is None else value)
    if isinstance(field, dict) and value is not None:
        return {name: filled(member, value.get(name)) for name, member in field.items()}
    if isinstance(field, list) and value is not None:
        return [filled(field[0], member) for member in value]
    return value
