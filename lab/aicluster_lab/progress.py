"""What the lab prints while it works: one line per step, with its seconds."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

HEARTBEAT_S = 15.0


class Progress:
    """Prints steps as they start, a sign of life during long ones, and the seconds each one took."""

    def __init__(self) -> None:
        self._lock = Lock()

    def say(self, text: str) -> None:
        """Print one line at once."""
        with self._lock:
            print(text, flush=True)

    @contextmanager
    def step(self, name: str) -> Iterator["Step"]:
        """Time a step; print it when it ends, and before that only if it takes long or fails."""
        step = Step(self, name)
        try:
            yield step
        except BaseException:
            self.say(f"  {name}: FAILED after {step.elapsed:.1f} s")
            raise
        detail = f" ({step.detail})" if step.detail else ""
        self.say(f"  {name + detail:<68} {step.elapsed:6.1f} s")


class Step:
    """One step under way."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.name = name
        self.detail = ""
        self._progress = progress
        self._start = self._heard = time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self._start

    def note(self, text: str) -> None:
        """Say where the step is, at most every HEARTBEAT_S seconds, so that a long one is seen to live."""
        now = time.monotonic()
        if now - self._heard >= HEARTBEAT_S:
            self._heard = now
            self._progress.say(f"    {self.name}: {text} ... {self.elapsed:.0f} s")
