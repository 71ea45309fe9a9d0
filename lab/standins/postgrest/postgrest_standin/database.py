"""The database: asked as `authenticator`, who becomes the caller's role for every request."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from .config import Settings

TIMEOUT_S = 5
RELATION = """
SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relname = %s AND relkind IN ('r', 'v', 'm', 'f', 'p')
"""
ROWS = """
SELECT coalesce(json_agg(_found), '[]')::text FROM (SELECT * FROM {} LIMIT {}) AS _found
"""
FUNCTION = """
SELECT coalesce(proargnames, '{}'), ARRAY(SELECT format_type(kind, NULL) FROM unnest(proargtypes) AS kind)
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace WHERE nspname = %s AND proname = %s
"""
# SQLSTATE, or its class -> HTTP status; any other is 400, as in PostgREST. Without a token 42501 is 401.
STATUSES = {
    "42501": 403, "42P01": 404, "42883": 404, "22023": 401, "23503": 409, "23505": 409, "53": 503, "25": 500,
    "40": 500, "54": 500, "55": 500, "57": 500, "58": 500, "P0": 500, "P0001": 400, "XX": 500,
}  # fmt: skip
NO_PASSWORD = ("password authentication failed", "no password supplied")


class ApiError(Exception):
    """An answer that is none: a status, and the four fields PostgREST gives with it."""

    def __init__(self, status: int, code: str, message: str, details: str | None = None) -> None:
        """`code` is PostgREST's own or an SQLSTATE."""
        super().__init__(details or message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": None, "message": message}


class LostError(ApiError):
    """The database does not answer."""

    def __init__(self, problem: psycopg.Error) -> None:
        super().__init__(503, "PGRST000", "Database connection error.", str(problem).strip())


class AuthenticationError(LostError):
    """The database does not take the password."""


class Database:
    """Opens a connection per request: there are few, and a lost database shows at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def connect(self) -> psycopg.AsyncConnection:
        """Return a connection. Raises LostError."""
        try:
            return await psycopg.AsyncConnection.connect(
                self._settings["db-uri"],
                connect_timeout=TIMEOUT_S,
                fallback_application_name="PostgREST stand-in",
                cursor_factory=psycopg.AsyncClientCursor,
            )
        except psycopg.Error as problem:
            refused = any(said in str(problem) for said in NO_PASSWORD)
            raise (AuthenticationError if refused else LostError)(problem) from problem

    @asynccontextmanager
    async def as_role(self, role: str) -> AsyncIterator[psycopg.AsyncCursor]:
        """Yield a cursor of a transaction in which this is the role. Raises ApiError."""
        connection = await self.connect()
        try:
            async with connection, connection.cursor() as cursor:
                await cursor.execute("SELECT set_config('role', %s, true)", [role])
                yield cursor
        except psycopg.Error as problem:
            if connection.broken or problem.sqlstate is None:
                raise LostError(problem) from problem
            code = problem.sqlstate
            status = STATUSES.get(code) or STATUSES.get(code[:2], 400)
            if code == "42501" and role == self.anonymous:
                status = 401
            raise ApiError(status, code, problem.diag.message_primary or "") from problem

    @property
    def anonymous(self) -> str:
        """Return the role of a caller without a token."""
        return str(self._settings["db-anon-role"])

    async def rows(self, role: str, relation: str) -> str:
        """Return the rows as JSON text. Raises ApiError."""
        schema, limit = self._settings["db-schemas"], sql.Literal(self._settings["db-max-rows"])
        async with self.as_role(role) as cursor:
            await cursor.execute("SET TRANSACTION READ ONLY")
            await cursor.execute(RELATION, [schema, relation])
            if not cursor.rowcount:
                raise ApiError(404, "PGRST205", f"Could not find the table '{relation}'")
            await cursor.execute(sql.SQL(ROWS).format(sql.Identifier(schema, relation), limit))
            [text] = await cursor.fetchone()
        return str(text)

    async def call(
        self, role: str, name: str, headers: Mapping[str, str], body: str
    ) -> tuple[int, str | None]:
        """Call a function with a body of JSON: status, and the JSON it returns. Raises ApiError.

        One nameless parameter is given the whole body, others the members of their names.
        """
        schema = self._settings["db-schemas"]
        async with self.as_role(role) as cursor:
            await cursor.execute(FUNCTION, [schema, name])
            found = await cursor.fetchone()
            if not found:
                raise ApiError(404, "PGRST202", f"Could not find the function {schema}.{name}")
            names, types = found
            given = [body] if types and not names else members(body, names)
            shown = [json.dumps(one) if isinstance(one, dict | list) else one for one in given]
            places = sql.SQL(", ").join(
                sql.SQL("{}::" + kind).format(sql.Literal(one))
                for one, kind in zip(shown, types, strict=True)
            )
            await cursor.execute(
                "SELECT set_config('request.headers', %s, true)", [json.dumps(dict(headers))]
            )
            await cursor.execute(sql.SQL("SELECT {}({})::text").format(sql.Identifier(schema, name), places))
            [text] = await cursor.fetchone()
            await cursor.execute("SELECT nullif(current_setting('response.status', true), '')")
            [status] = await cursor.fetchone()
        # What returns nothing yields an empty text.
        return int(status or (200 if text else 204)), text or None


def members(body: str, names: list[str]) -> list[Any]:
    """Return the arguments in their order. Raises ApiError for a body that has others."""
    try:
        given = json.loads(body or "{}")
    except ValueError:
        raise ApiError(400, "PGRST102", "Empty or invalid json") from None
    if not isinstance(given, dict) or set(given) != set(names):
        raise ApiError(404, "PGRST202", f"Could not find the function with parameters {list(given)}")
    return [given[name] for name in names]
