"""What is kept, and how passwords are."""

from __future__ import annotations

import hashlib
import hmac
import re

SHORTEST_PASSWORD = 12
SALT_BYTES = 16
DELIVERED = "admin"
CLASSES = {
    "one uppercase character": r"[A-Z]",
    "one lowercase character": r"[a-z]",
    "one digit": r"[0-9]",
    "one special character": r"[^A-Za-z0-9]",
}


class DatabaseError(Exception):
    """The database does not answer, or refuses."""


def hashed(password: str, salt: bytes) -> bytes:
    """Return salt and hash of a password."""
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**10, r=8, p=1)


def matches(password: str, secret: bytes) -> bool:
    """Return whether a password is the one that was kept."""
    return hmac.compare_digest(hashed(password, secret[:SALT_BYTES]), secret)


def weakness(password: str) -> str:
    """Return why SonarQube refuses a new password; an empty text if it does not."""
    if len(password) < SHORTEST_PASSWORD:
        return f"Password must be at least {SHORTEST_PASSWORD} characters long"
    missing = [what for what, sign in CLASSES.items() if not re.search(sign, password)]
    return f"Password must contain at least {missing[0]}" if missing else ""
