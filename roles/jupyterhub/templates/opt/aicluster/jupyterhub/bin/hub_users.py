"""Who may log in to the hub. Read each time, because the file changes while the hub runs."""

import datetime
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

FILE = Path("/run/secrets/jupyterhub/users.json")


def users(text: str, today: str) -> dict[str, dict[str, Any]]:
    """Return user -> {admin, keys} of those with a key that is valid today (as 2027-06-30), by its hash."""
    valid = {
        name: {
            "admin": user["admin"],
            "keys": [key for key, last in user["keys"].items() if not last or last >= today],
        }
        for name, user in json.loads(text).items()
    }
    return {name: user for name, user in valid.items() if user["keys"]}


def users_now() -> dict[str, dict[str, Any]]:
    """Return the users of this moment."""
    return users(FILE.read_text(), datetime.datetime.now(datetime.UTC).date().isoformat())


def opens(user: dict[str, Any], key: str) -> bool:
    """Tell whether this is a key of the user."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    return any(hmac.compare_digest(digest, one) for one in user["keys"])
