"""Password files of nginx and rest-server: a line per user, without the password itself."""

import base64
import hashlib


def password_line(password: str, user: str, site: str = "") -> str:
    """Return `user:{SSHA}hash`, the same for the same password, user and site; `{SHA}` without a site.

    The salt follows from site and user, for a random one would change the file in every run. A quick hash, as
    nginx computes it for every request and a secret is long and random; the file is for the server alone.
    rest-server knows none with a salt but bcrypt, which would protect such a secret no better.
    """
    salt = hashlib.sha256(f"{site}\0{user}".encode()).digest()[:16] if site else b""
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{user}:{{{'SSHA' if site else 'SHA'}}}{base64.b64encode(digest + salt).decode()}"
