"""The secrets of repositories and stores, derived from one: a node is given its own and no other."""

import hashlib
import hmac

from ..errors import SiteError


def backup_secret(master: str, purpose: str) -> str:
    """Return the secret for `repository <node>` or `login <node> <store>`, as 64 hexadecimal digits."""
    if not master:
        raise SiteError("backup_secret: backup_password is empty: must be a secret; `make secrets` adds it")
    return hmac.new(master.encode(), purpose.encode(), hashlib.sha256).hexdigest()
