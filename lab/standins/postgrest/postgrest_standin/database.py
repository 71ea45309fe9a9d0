"""The database: read as `authenticator`, who becomes the anonymous role for every request."""

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
# SQLSTATE -> HTTP status for a caller without a token; any other is 500 here.
STATUSES = {"42501": 401, "42P01": 404, "22023": 401}
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

    async def rows(self, relation: str) -> str:
        """Return the rows as JSON text, read as the anonymous role. Raises ApiError."""
        schema = self._settings["db-schemas"]
        limit = sql.Literal(self._settings["db-max-rows"])
        connection = await self.connect()
        try:
            async with connection, connection.cursor() as cursor:
                await connection.set_read_only(True)
                await cursor.execute(RELATION, [schema, relation])
                if not cursor.rowcount:
                    raise ApiError(404, "PGRST205", f"Could not find the table '{relation}'")
                await cursor.execute("SELECT set_config('role', %s, true)", [self._settings["db-anon-role"]])
                await cursor.execute(sql.SQL(ROWS).format(sql.Identifier(schema, relation), limit))
                [text] = await cursor.fetchone()
        except psycopg.Error as problem:
            if connection.broken or problem.sqlstate is None:
                raise LostError(problem) from problem
            status = STATUSES.get(problem.sqlstate, 500)
            raise ApiError(status, problem.sqlstate, problem.diag.message_primary or "") from problem
        return str(text)
