"""What an answer can be instead of rows: PostgREST's errors."""

from __future__ import annotations

# SQLSTATE -> HTTP status for a caller without a token; any other is 500 here.
STATUSES = {"42501": 401, "42P01": 404}


class ApiError(Exception):
    """An answer that is none: a status, and the four fields PostgREST gives with it."""

    def __init__(self, status: int, code: str, message: str, details: str | None = None) -> None:
        """`code` is PostgREST's own or an SQLSTATE."""
        super().__init__(message)
        self.status = status
        self.body = {"code": code, "details": details, "hint": None, "message": message}


class LostError(Exception):
    """The database does not answer."""


class AuthenticationError(LostError):
    """The database does not take the password; PostgREST ends then."""


def database_error(state: str, message: str) -> ApiError:
    """Return what PostgREST makes of an error of the database; without its role nobody is let in."""
    no_role = state == "22023" and message.startswith("role ") and message.endswith(" does not exist")
    return ApiError(401 if no_role else STATUSES.get(state, 500), state, message)
