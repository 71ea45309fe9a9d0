"""Checking records against tables of fields, with Kong's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

# What a file holds: its type is what is being checked.
Value: TypeAlias = Any
UNKNOWN = "unknown field; this stand-in for Kong has only the fields this project sets"


@dataclass(frozen=True)
class Field:
    """One field: its type and what its value must be. `check` returns a message, or None.

    `only`: what the stand-in does, where Kong does more. It holds for Kong's default, too.
    """

    type: str
    default: Any = None
    required: bool = False
    between: tuple[float, float] | None = None
    one_of: tuple[Any, ...] = ()
    only: tuple[Any, ...] = ()
    elements: Field | None = None
    fields: Mapping[str, Field] | None = None
    check: Callable[[Any], str | None] | None = None


@dataclass(frozen=True)
class Problem:
    """What is wrong, and where: `services[1].retries`."""

    path: str
    message: str

    def __str__(self) -> str:
        """Return both."""
        return f"in '{self.path}': {self.message}"


class InvalidError(Exception):
    """A configuration that must not be loaded."""

    def __init__(self, problems: list[Problem]) -> None:
        """Keep all problems, not only the first."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


TYPES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "string": (lambda v: isinstance(v, str), "expected a string"),
    "boolean": (lambda v: isinstance(v, bool), "expected a boolean"),
    "integer": (lambda v: isinstance(v, int) and not isinstance(v, bool), "expected an integer"),
    "number": (lambda v: isinstance(v, int | float) and not isinstance(v, bool), "expected a number"),
    "array": (lambda v: isinstance(v, list), "expected an array"),
    "set": (lambda v: isinstance(v, list), "expected a set"),
    "map": (lambda v: isinstance(v, dict), "expected a map"),
    "record": (lambda v: isinstance(v, dict), "expected a record"),
}


def problems_of(field: Field, value: Value, path: str) -> Iterator[Problem]:
    """Yield what is wrong with one value."""
    fits, message = TYPES[field.type]
    if not fits(value):
        yield Problem(path, message)
        return
    if field.between and not field.between[0] <= value <= field.between[1]:
        yield Problem(path, "value should be between {:.15g} and {:.15g}".format(*field.between))
    if field.one_of and value not in field.one_of:
        yield Problem(path, f"expected one of: {', '.join(map(str, field.one_of))}")
    elif field.only and value not in field.only:
        wanted = " or ".join(map(str, field.only))
        yield Problem(path, f"{value} is not in this stand-in for Kong, only {wanted}")
    if field.check and (wrong := field.check(value)):
        yield Problem(path, wrong)
    if field.fields is not None:
        yield from record_problems(field.fields, value, path)
    if field.elements:
        members = value.items() if isinstance(value, dict) else enumerate(value, start=1)
        for key, member in members:
            yield from problems_of(field.elements, member, f"{path}[{key}]")


def record_problems(fields: Mapping[str, Field], record: dict[str, Any], path: str = "") -> Iterator[Problem]:
    """Yield what is wrong with a record: unknown, missing and bad fields."""
    prefix = f"{path}." if path else ""
    for name in [name for name in record if name not in fields]:
        yield Problem(f"{prefix}{name}", UNKNOWN)
    for name, field in fields.items():
        value = field.default if record.get(name) is None else record[name]
        if value is not None:
            yield from problems_of(field, value, f"{prefix}{name}")
        elif field.required:
            yield Problem(f"{prefix}{name}", "required field missing")


def filled(fields: Mapping[str, Field], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the record with all defaults, also in the records inside it."""
    return {
        name: with_defaults(field, field.default if record.get(name) is None else record[name])
        for name, field in fields.items()
    }


def with_defaults(field: Field, value: Value) -> Value:
    """Return a value with all defaults of the records in it."""
    if value is not None and field.fields is not None:
        return filled(field.fields, value)
    if value is not None and field.elements and field.elements.fields is not None:
        return [filled(field.elements.fields, member) for member in value]
    return value
