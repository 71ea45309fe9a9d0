"""What outlives a restart: the administrator, in the file and table where Grafana keeps users."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

USER = "admin"


class Store:
    """The database. It is read anew for every login: the command line may have changed it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "grafana.db"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path)) as database, database:
            database.execute('CREATE TABLE IF NOT EXISTS "user" (login TEXT PRIMARY KEY, password TEXT)')
            yield database

    def begin(self, password: str) -> None:
        """Make the administrator at the first start; later starts change nothing, as in Grafana."""
        if not self._path.exists():
            self.write(password)

    def write(self, password: str) -> None:
        """Set the administrator's password. Raises sqlite3.Error where the file cannot be written to."""
        with self._open() as database:
            row = (USER, sha256(password.encode()).hexdigest())
            database.execute('INSERT OR REPLACE INTO "user" VALUES (?, ?)', row)
        self._path.chmod(0o640)

    def opens(self, user: str, password: str) -> bool:
        """Whether this is a user with its password. Raises sqlite3.Error when the file cannot be read."""
        with self._open() as database:
            known = database.execute('SELECT password FROM "user" WHERE login = ?', (user,)).fetchone()
        return known is not None and compare_digest(known[0], sha256(password.encode()).hexdigest())
