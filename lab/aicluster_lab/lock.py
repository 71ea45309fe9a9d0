"""One command at a time works on a checkout's lab."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Hold the lab of the checkout `root`; whoever comes second waits for the first."""
    path = root / ".cache" / "lab.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another lab command is at work; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
