"""The store in PostgreSQL, in two tables of its own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg

from .properties import Database
from .store import DELIVERED, SALT_BYTES, DatabaseError, hashed

TIMEOUT_S = 5
TABLES = """
CREATE TABLE IF NOT EXISTS standin_users (login text PRIMARY KEY, secret bytea NOT NULL);
CREATE TABLE IF NOT EXISTS standin_projects (kee text PRIMARY KEY, name text NOT NULL);
"""


class PostgresStore:
    """Opens a connection per question: there are few, and a lost database shows at once."""

    def __init__(self, database: Database) -> None:
        """Keep everything in `database`."""
        self._database = database

    @asynccontextmanager
    async def _cursor(self) -> AsyncIterator[Any]:
        where = self._database
        try:
            connection = await psycopg.AsyncConnection.connect(
                host=where.host, port=where.port, dbname=where.name, user=where.user,
                password=where.password, connect_timeout=TIMEOUT_S,
            )  # fmt: skip
            async with connection, connection.cursor() as cursor:
                yield cursor
        except psycopg.Error as problem:
            raise DatabaseError(str(problem).strip()) from problem

    async def prepare(self) -> None:
        """Make what is missing: the tables, and the user every SonarQube is delivered with."""
        async with self._cursor() as cursor:
            await cursor.execute(TABLES)
            await cursor.execute(
                "INSERT INTO standin_users VALUES ('admin', %s) ON CONFLICT DO NOTHING",
                [hashed(DELIVERED, os.urandom(SALT_BYTES))],
            )

    async def ping(self) -> None:
        """Ask for nothing."""
        async with self._cursor() as cursor:
            await cursor.execute("SELECT 1 FROM standin_users LIMIT 1")

    async def secret_of(self, login: str) -> bytes | None:
        """Return what is kept of a user's password."""
        async with self._cursor() as cursor:
            await cursor.execute("SELECT secret FROM standin_users WHERE login = %s", [login])
            row = await cursor.fetchone()
        return bytes(row[0]) if row else None

    async def keep_secret(self, login: str, secret: bytes) -> None:
        """Replace what is kept of a user's password."""
        async with self._cursor() as cursor:
            await cursor.execute("UPDATE standin_users SET secret = %s WHERE login = %s", [secret, login])

    async def projects(self) -> dict[str, str]:
        """Return key -> name."""
        async with self._cursor() as cursor:
            await cursor.execute("SELECT kee, name FROM standin_projects ORDER BY kee")
            return dict(await cursor.fetchall())

    async def add_project(self, key: str, name: str) -> bool:
        """Return False if there is one with this key."""
        async with self._cursor() as cursor:
            await cursor.execute(
                "INSERT INTO standin_projects VALUES (%s, %s) ON CONFLICT DO NOTHING", [key, name]
            )
            return bool(cursor.rowcount)

    async def delete_project(self, key: str) -> bool:
        """Return False if there is none."""
        async with self._cursor() as cursor:
            await cursor.execute("DELETE FROM standin_projects WHERE kee = %s", [key])
            return bool(cursor.rowcount)
