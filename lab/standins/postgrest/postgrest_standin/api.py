"""What is asked of the database: the schema as PostgREST keeps it, requests, and PostgREST's errors."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

# SQLSTATE (or its class) -> HTTP status, where PostgREST has one of its own; any other is 400 or 500.
STATUSES = {
    "08": 503,
    "09": 500,
    "0L": 403,
    "0P": 403,
    "21000": 500,
    "23503": 409,
    "23505": 409,
    "25006": 405,
    "25": 500,
    "28": 403,
    "2D": 500,
    "38": 500,
    "39": 500,
    "3B": 500,
    "40": 500,
    "42883": 404,
    "42P01": 404,
    "42P17": 500,
    "53400": 500,
    "53": 503,
    "54": 500,
    "55": 500,
    "57P01": 503,
    "57": 500,
    "58": 500,
    "P0001": 400,
    "P0": 500,
    "F0": 500,
    "HV": 500,
    "XX": 500,
}


class ApiError(Exception):
    """An answer that is none: a status, and the four fields PostgREST gives with it."""

    def __init__(
        self, status: int, code: str, message: str, hint: str | None = None, details: str | None = None
    ) -> None:
        """`code` is PostgREST's own or an SQLSTATE."""
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": hint, "message": message}


class LostError(Exception):
    """The database does not answer."""


class AuthenticationError(LostError):
    """The database does not take the password; PostgREST ends then."""


def database_error(state: str, message: str, details: str | None = None, hint: str | None = None) -> ApiError:
    """Return what PostgREST makes of an error of the database, for a caller without a token."""
    if state == "42501":
        return ApiError(401, state, message, hint, details)
    if state == "22023" and message.startswith("role ") and message.endswith(" does not exist"):
        return ApiError(401, state, message, hint, details)
    return ApiError(STATUSES.get(state, STATUSES.get(state[:2], 400)), state, message, hint, details)


@dataclass(frozen=True)
class Function:
    """A function: parameters without a default and with one, their types, and what it returns."""

    schema: str
    name: str
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    whole_body: str = ""  # the type of its one parameter without a name, if it takes the body as it is
    rows: bool = False
    void: bool = False

    def takes(self, names: Iterable[str]) -> bool:
        """Return whether it can be called with exactly these names."""
        given = set(names)
        return set(self.required) <= given <= {*self.required, *self.optional}


@dataclass(frozen=True)
class Schema:
    """The schema cache: schema and names of tables and views, and functions."""

    name: str
    relations: frozenset[str] = frozenset()
    functions: tuple[Function, ...] = ()

    def relation(self, name: str) -> str:
        """Return the name; raises 404 for what is no table or view of the schema."""
        if name in self.relations:
            return name
        near = difflib.get_close_matches(name, sorted(self.relations), 1)
        hint = f"Perhaps you meant the table '{self.name}.{near[0]}'" if near else None
        message = f"Could not find the table '{self.name}.{name}' in the schema cache"
        raise ApiError(404, "PGRST205", message, hint)

    def function(self, name: str, body: object) -> Function:
        """Return the function for this body: by its names, else one that takes the body whole. Raises 404."""
        named = [one for one in self.functions if one.name == name]
        names = sorted(body) if isinstance(body, dict) else []
        if isinstance(body, dict):
            for one in named:
                if not one.whole_body and one.takes(names):
                    return one
        for one in named:
            if one.whole_body:
                return one
        given = f"({', '.join(names)})" if names else " without parameters"
        message = f"Could not find the function {self.name}.{name}{given} in the schema cache"
        raise ApiError(404, "PGRST202", message)


@dataclass(frozen=True)
class Read:
    """Rows: columns (none is all), (column, value) that must be equal, how many and from which on."""

    relation: str
    columns: tuple[str, ...] = ()
    equal: tuple[tuple[str, str], ...] = ()
    limit: int | None = None
    offset: int = 0


def not_negative(name: str, text: str) -> int:
    """Return a number; raises 400 for anything else."""
    if not text.isascii() or not text.isdigit():
        raise ApiError(400, "PGRST100", f'"failed to parse {name} parameter ({text})" (line 1, column 1)')
    return int(text)


def read(relation: str, query: Iterable[tuple[str, str]], max_rows: int | None) -> Read:
    """Return what a GET asks for. Raises 400 for what PostgREST may know and this stand-in does not."""
    columns: tuple[str, ...] = ()
    equal: list[tuple[str, str]] = []
    limit, offset = max_rows, 0
    for name, value in query:
        if name == "select":
            columns = tuple(part.strip() for part in value.split(",") if part.strip() not in ("", "*"))
            if unknown := [part for part in columns if not part.replace("_", "").isalnum()]:
                raise ApiError(400, "PGRST100", f"stand-in: select knows plain columns, not {unknown[0]}")
        elif name == "limit":
            wanted = not_negative(name, value)
            limit = wanted if max_rows is None else min(wanted, max_rows)
        elif name == "offset":
            offset = not_negative(name, value)
        elif value.startswith("eq."):
            equal.append((name, value.removeprefix("eq.")))
        else:
            raise ApiError(
                400,
                "PGRST100",
                f'"failed to parse filter ({value})" (line 1, column 1)',
                details="stand-in: the only filter is eq",
            )
    return Read(relation, columns, tuple(equal), limit, offset)


def body_of(raw: bytes) -> object:
    """Return the body of a call; none is no parameters. Raises 400 for what is no JSON."""
    try:
        return json.loads(raw) if raw else {}
    except ValueError as problem:
        raise ApiError(400, "PGRST102", "Empty or invalid json") from problem
