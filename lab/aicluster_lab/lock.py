"""Who may work on a checkout's lab: its user, one command at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import LabError


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold the lab of the checkout `root`; whoever comes second waits for the first."""
    path = root / ".cache" / "lab.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another lab command is running; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def require_owner(*folders: Path) -> None:
    """Raise LabError if one of the lab's folders is another user's."""
    for folder in folders:
        if folder.exists() and folder.stat().st_uid != os.geteuid():
            raise LabError(
                f"{folder} belongs to user {folder.stat().st_uid}, this is user {os.geteuid()}: a lab is one "
                "user's. Run this as that user, or have that user run `make lab-down clean` first."
            )
