# SPDX-License-Identifier: Apache-2.0
"""The secrets of repositories and stores, derived from one: a node is given its own and no other."""

import hashlib
import hmac
import re

from ..errors import SiteError

PURPOSES = ("repository <node>", "login <node> <store>")
PURPOSE = re.compile(r"repository \S+|login \S+ \S+")


def backup_secret(master: str, purpose: str) -> str:
    """Return the secret for a purpose, one of PURPOSES, as 64 hexadecimal digits.

    Raises SiteError for any other purpose, whose secret nobody else would derive, and for an empty master.
    """
    if not PURPOSE.fullmatch(purpose):
        raise SiteError(f"backup_secret: purpose {purpose!r}: must be {' or '.join(PURPOSES)}; correct it")
    if not master:
        raise SiteError("backup_secret: backup_password is empty: must be a secret; `make secrets` adds it")
    return hmac.new(master.encode(), purpose.encode(), hashlib.sha256).hexdigest()
