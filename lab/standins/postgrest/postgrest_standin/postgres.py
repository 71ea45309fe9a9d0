"""The database: read as `authenticator`, who becomes the anonymous role for every request."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psycopg
from psycopg import sql

from .api import AuthenticationError, LostError, database_error
from .config import Config

TIMEOUT_S = 5
RELATIONS = """
SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = %s AND relkind IN ('r', 'v', 'm', 'f', 'p')
"""
ROWS = """
SELECT coalesce(json_agg(_found), '[]')::text FROM (SELECT * FROM {} LIMIT {}) AS _found
"""


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

    async def schema(self) -> frozenset[str]:
        """Read the schema cache: the names of tables and views."""
        connection = await self._connect()
        try:
            async with connection, connection.cursor() as cursor:
                await cursor.execute(RELATIONS, [self._config.schema])
                return frozenset(row[0] for row in await cursor.fetchall())
        except psycopg.Error as problem:
            raise LostError(str(problem).strip()) from problem

    async def changes(self) -> AsyncIterator[str]:
        """Yield "" when listening has begun, then every notification. Raises LostError when that ends."""
        connection = await self._connect(autocommit=True)
        try:
            async with connection:
                await connection.execute("LISTEN pgrst")
                yield ""
                async for said in connection.notifies():
                    yield said.payload
        except psycopg.Error as problem:
            raise LostError(str(problem).strip()) from problem

    async def rows(self, relation: str) -> str:
        """Return the rows as JSON text, read as the anonymous role. Raises ApiError and LostError."""
        query = sql.SQL(ROWS).format(
            sql.Identifier(self._config.schema, relation), sql.Literal(self._config.max_rows)
        )
        connection = await self._connect()
        try:
            async with connection, connection.cursor() as cursor:
                await connection.set_read_only(True)
                await cursor.execute("SELECT set_config('role', %s, true)", [self._config.anonymous])
                await cursor.execute(query)
                row = await cursor.fetchone()
        except psycopg.Error as problem:
            if connection.broken or problem.sqlstate is None:
                raise LostError(str(problem).strip()) from problem
            raise database_error(problem.sqlstate, problem.diag.message_primary or "") from problem
        return str(row[0])
