# SPDX-License-Identifier: Apache-2.0
"""Passwords as nginx reads them: a line per user, without the password itself."""

from __future__ import annotations

import base64
import hashlib

from ..errors import SiteError


def password_line(password: str, user: str, site: str) -> str:
    """Return `user:{SSHA}hash`, the same for the same password, user and site.

    The salt follows from site and user, for a random one would change the file in every run. A quick hash, as
    nginx computes it for every request and a secret is long and random; the file is for nginx alone to read.
    Raises SiteError for a user no line can hold.
    """
    if not user or ":" in user or not user.isprintable():
        raise SiteError(
            f"password_line: user {user!r}: must be a name without a colon; correct it where it is set"
        )
    salt = hashlib.sha256(f"{site}\0{user}".encode()).digest()[:16]
    digest = hashlib.sha1(password.encode() + salt, usedforsecurity=False).digest()
    return f"{user}:{{SSHA}}{base64.b64encode(digest + salt).decode()}"
