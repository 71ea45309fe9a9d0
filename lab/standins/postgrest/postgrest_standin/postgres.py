"""The database: read as `authenticator`, who becomes the anonymous role for every request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import sql

from .api import AuthenticationError, Function, LostError, Read, Schema, database_error
from .config import Config

TIMEOUT_S = 5
RELATIONS = """
SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relkind IN ('r', 'v', 'm', 'f', 'p')
"""
FUNCTIONS = """
SELECT proname, coalesce(proargnames, '{}'), coalesce(proargmodes::text[], '{}'), pronargs, pronargdefaults,
  ARRAY(SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS a (t, n) ORDER BY n),
  proretset, prorettype = 'void'::regtype
FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace
WHERE nspname = %s AND prokind = 'f' AND prorettype <> 'trigger'::regtype
"""
UNNAMED = ("json", "jsonb")


def function(schema: str, row: tuple[Any, ...]) -> Function:
    """Return a function as a row of FUNCTIONS describes it."""
    name, names, modes, count, defaults, types, rows, void = row
    inputs = [one for one, mode in zip(names, modes or ["i"] * len(names), strict=True) if mode in "iob"]
    inputs = [one for one in inputs if one][:count]
    whole = types[0] if count == 1 and not inputs and types[0] in UNNAMED else ""
    needed = count - defaults
    return Function(
        schema,
        name,
        tuple(inputs[:needed]),
        tuple(inputs[needed:]),
        dict(zip(inputs, types, strict=False)),
        whole,
        rows,
        void,
    )


def text_of(value: object) -> str | None:
    """Return a value of a JSON body as the database reads it."""
    return value if value is None or isinstance(value, str) else json.dumps(value)


class PostgresStore:
    """Opens a connection per request: there are few, and a lost database shows at once."""

    def __init__(self, config: Config) -> None:
        """`config` says where, as whom and which schema."""
        self._config = config

    async def _connect(self, autocommit: bool = False) -> psycopg.AsyncConnection[Any]:
        try:
            return await psycopg.AsyncConnection.connect(
                self._config.uri,
                connect_timeout=TIMEOUT_S,
                fallback_application_name="PostgREST stand-in",
                cursor_factory=psycopg.AsyncClientCursor,
                autocommit=autocommit,
            )
        except psycopg.Error as problem:
            said = str(problem).strip()
            if "password authentication failed" in said or "no password supplied" in said:
                raise AuthenticationError(said) from problem
            raise LostError(said) from problem

    @asynccontextmanager
    async def _as_anonymous(self, read_only: bool) -> AsyncIterator[Any]:
        """One transaction as the anonymous role. Raises ApiError and LostError."""
        connection = await self._connect()
        try:
            async with connection, connection.cursor() as cursor:
                await connection.set_read_only(read_only)
                await cursor.execute(
                    "SELECT set_config('search_path', %s, true), set_config('role', %s, true)",
                    [f'"{self._config.schemas[0]}", public', self._config.anonymous],
                )
                yield cursor
        except psycopg.Error as problem:
            if connection.broken or problem.sqlstate is None:
                raise LostError(str(problem).strip()) from problem
            said = problem.diag
            message = said.message_primary or ""
            raise database_error(
                problem.sqlstate, message, said.message_detail, said.message_hint
            ) from problem

    async def schema(self) -> Schema:
        """Read the schema cache."""
        name = self._config.schemas[0]
        connection = await self._connect()
        try:
            async with connection, connection.cursor() as cursor:
                await cursor.execute(RELATIONS, [name])
                relations = frozenset(row[0] for row in await cursor.fetchall())
                await cursor.execute(FUNCTIONS, [name])
                functions = tuple(function(name, row) for row in await cursor.fetchall())
        except psycopg.Error as problem:
            raise LostError(str(problem).strip()) from problem
        return Schema(name, relations, functions)

    async def changes(self) -> AsyncIterator[str]:
        """Yield "" when listening has begun, then every notification. Raises LostError when that ends."""
        connection = await self._connect(autocommit=True)
        try:
            async with connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._config.channel)))
                yield ""
                async for said in connection.notifies():
                    yield said.payload
        except psycopg.Error as problem:
            raise LostError(str(problem).strip()) from problem

    async def rows(self, wanted: Read) -> str:
        """Return the rows as JSON text."""
        name = sql.Identifier(self._config.schemas[0], wanted.relation)
        columns = sql.SQL(", ").join(map(sql.Identifier, wanted.columns)) if wanted.columns else sql.SQL("*")
        same = sql.SQL("{} = {}")
        equal = [same.format(sql.Identifier(one), sql.Literal(value)) for one, value in wanted.equal]
        where = sql.SQL(" AND ").join([sql.SQL("true"), *equal])
        query = sql.SQL(
            "SELECT coalesce(json_agg(_found), '[]')::text, count(*) FROM "
            "(SELECT {} FROM {} WHERE {} LIMIT {} OFFSET {}) AS _found"
        ).format(columns, name, where, sql.Literal(wanted.limit), sql.Literal(wanted.offset))
        async with self._as_anonymous(read_only=True) as cursor:
            await cursor.execute(query)
            row = await cursor.fetchone()
        return str(row[0])

    async def call(self, called: Function, body: object) -> str | None:
        """Call a function; return its result as JSON text, None if it has none."""
        typed = "{} := CAST({} AS {})"
        if called.whole_body:
            whole = sql.SQL("CAST({} AS {})").format(
                sql.Literal(json.dumps(body)), sql.SQL(called.whole_body)
            )
            given = [whole]
        else:
            values: Mapping[str, object] = body if isinstance(body, dict) else {}
            given = [
                sql.SQL(typed).format(
                    sql.Identifier(name), sql.Literal(text_of(value)), sql.SQL(called.types[name])
                )
                for name, value in values.items()
            ]
        result = "coalesce(json_agg(_found), '[]')::text" if called.rows else "to_json(_found)::text"
        query = sql.SQL("SELECT {} FROM {}({}) AS _found").format(
            sql.SQL("count(*)" if called.void else result),
            sql.Identifier(called.schema, called.name),
            sql.SQL(", ").join(given),
        )
        async with self._as_anonymous(read_only=False) as cursor:
            await cursor.execute(query)
            row = await cursor.fetchone()
        return None if called.void or row is None else str(row[0] or "null")
