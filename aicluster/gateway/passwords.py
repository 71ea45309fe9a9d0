"""Password files of nginx and rest-server: a line per user, without the password itself."""

import base64
import hashlib

from ..errors import SiteError


def password_line(password: str, user: str, site: str) -> str:
    """Return `user:{SSHA}hash`, the same for the same password, user and site.

    The salt follows from site and user, for a random one would change the file in every run. A quick hash, as
    nginx computes it for every request and a secret is long and random; the file is for nginx alone to read.
    Raises SiteError for a user no line can hold.
    """
    refuse_user("password_line", user)
    salt = hashlib.sha256(f"{site}\0{user}".encode()).digest()[:16]
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{user}:{{SSHA}}{base64.b64encode(digest + salt).decode()}"


def sha_password_line(password: str, user: str) -> str:
    """Return `user:{SHA}hash`, which rest-server knows besides bcrypt.

    It has no salt, so only for passwords that are long and random; bcrypt would protect those no better.
    Raises SiteError for a user no line can hold.
    """
    refuse_user("sha_password_line", user)
    digest = hashlib.sha1(password.encode(), usedforsecurity=False).digest()
    return f"{user}:{{SHA}}{base64.b64encode(digest).decode()}"


def refuse_user(caller: str, user: str) -> None:
    """Raise SiteError for a user no line of a password file can hold."""
    if not user or ":" in user or not user.isprintable():
        raise SiteError(
            f"{caller}: user {user!r}: must be a name without a colon; correct it where it is set"
        )
