"""What outlives a restart: the administrator's password, as a hash in the data directory."""

import hashlib
import hmac
import json
import os
from pathlib import Path

FILE, USER = "grafana-stand-in.json", "admin"
ROUNDS = 10_000


def digest(password: str, salt: str) -> str:
    """Return the hash of a password."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ROUNDS).hex()


class Store:
    """The database. It is read anew for every login: the command line may have changed it."""

    def __init__(self, folder: Path) -> None:
        """Keep the file in `folder`."""
        self._path = folder / FILE

    def begin(self, password: str) -> None:
        """Make the administrator at the first start; later starts change nothing, as in Grafana.

        Raises OSError where the folder cannot be written to.
        """
        if not self._path.exists():
            self.write(password)

    def write(self, password: str) -> None:
        """Set the administrator's password."""
        salt = os.urandom(16).hex()
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps({"salt": salt, "hash": digest(password, salt)}))
        beside.chmod(0o600)
        beside.replace(self._path)

    def healthy(self) -> bool:
        """Whether the file can be read."""
        try:
            return bool(json.loads(self._path.read_text())["hash"])
        except (OSError, ValueError, KeyError):
            return False

    def opens(self, user: str, password: str) -> bool:
        """Whether this is the administrator. Raises OSError when the file cannot be read."""
        known = json.loads(self._path.read_text())
        return hmac.compare_digest(known["hash"], digest(password, known["salt"])) and user == USER
