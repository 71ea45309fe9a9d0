"""What outlives a restart: the administrator's password, as a hash in the data directory."""

from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

USER = "admin"


class Store:
    """The database. It is read anew for every login: the command line may have changed it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "grafana-stand-in"

    def begin(self, password: str) -> None:
        """Make the administrator at the first start; later starts change nothing, as in Grafana."""
        if not self._path.exists():
            self.write(password)

    def write(self, password: str) -> None:
        """Set the administrator's password. Raises OSError where the folder cannot be written to."""
        beside = self._path.with_suffix(".new")
        beside.write_text(sha256(password.encode()).hexdigest())
        beside.chmod(0o600)
        beside.replace(self._path)

    def opens(self, user: str, password: str) -> bool:
        """Whether this is the administrator. Raises OSError when the file cannot be read."""
        given = sha256(password.encode()).hexdigest()
        return compare_digest(self._path.read_text(), given) and user == USER
