"""What is kept, in two tables of a real database: the administrator's password and the projects."""

from typing import Any

import psycopg

TIMEOUT_S = 5
DELIVERED = """
CREATE TABLE IF NOT EXISTS standin_admin (secret bytea NOT NULL);
CREATE TABLE IF NOT EXISTS standin_projects (kee text PRIMARY KEY, name text NOT NULL);
INSERT INTO standin_admin SELECT sha256('admin') WHERE NOT EXISTS (SELECT FROM standin_admin);
"""
PING = "SELECT FROM standin_admin"
OPENS = "SELECT secret = sha256(convert_to(%s, 'UTF8')) FROM standin_admin"
CHANGE_PASSWORD = "UPDATE standin_admin SET secret = sha256(convert_to(%s, 'UTF8'))"
PROJECTS = "SELECT kee, name FROM standin_projects WHERE kee = ANY(%s) ORDER BY kee"
ADD_PROJECT = "INSERT INTO standin_projects VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING kee"
DELETE_PROJECT = "DELETE FROM standin_projects WHERE kee = %s RETURNING kee"


class Database:
    """Opens a connection per question: there are few, and a lost database shows at once."""

    def __init__(self, url: str, user: str, password: str) -> None:
        """`url` is an address as PostgreSQL's own clients write it."""
        self._where = {"conninfo": url, "user": user, "password": password, "connect_timeout": TIMEOUT_S}

    async def ask(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of an answer. Raises psycopg.Error."""
        async with await psycopg.AsyncConnection.connect(**self._where) as connection:
            cursor = await connection.execute(query, values or None)
            return list(await cursor.fetchall()) if cursor.description else []
