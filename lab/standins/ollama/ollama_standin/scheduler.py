"""Loaded models, and who waits for one: the rules that decide between an answer, a wait and a 503."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

FOREVER = float("inf")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class BusyError(Exception):
    """The queue of loads is full; answered with 503."""


def seconds(keep_alive: str | float | None, default: float) -> float:
    """Return a keep-alive in seconds: `5m`, `30s`, a number of seconds, negative = forever."""
    if keep_alive is None:
        return default
    if isinstance(keep_alive, int | float):
        return FOREVER if keep_alive < 0 else float(keep_alive)
    if keep_alive.startswith("-"):
        return FOREVER
    if re.fullmatch(r"\d+", keep_alive):
        return float(keep_alive)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", keep_alive)
    if not parts:
        raise ValueError(f'time: invalid duration "{keep_alive}"')
    return sum(float(number) * UNITS[unit] for number, unit in parts)


@dataclass
class Loaded:
    """A model in memory; `slots` are its parallel requests."""

    slots: asyncio.Semaphore
    expires: float = FOREVER
    in_use: int = 0


@dataclass
class Scheduler:
    """Requests for a loaded model wait without limit; requests that need a load may find the queue full."""

    max_loaded: int
    max_queue: int
    num_parallel: int
    keep_alive_s: float
    load_seconds: float = 0.0
    loaded: dict[str, Loaded] = field(default_factory=dict)
    _waiting: int = 0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def running(self) -> dict[str, Loaded]:
        """Return what is in memory now; models whose time is up are gone."""
        now = time.monotonic()
        self.loaded = {n: m for n, m in self.loaded.items() if m.in_use or m.expires > now}
        return self.loaded

    @asynccontextmanager
    async def use(self, name: str, keep_alive: str | float | None = None) -> AsyncIterator[None]:
        """Hold one of the model's slots, loading it first if need be. Raises BusyError."""
        model = self.running().get(name) or await self._load(name)
        model.in_use += 1
        try:
            async with model.slots:
                yield
        finally:
            model.in_use -= 1
            model.expires = time.monotonic() + seconds(keep_alive, self.keep_alive_s)

    async def _load(self, name: str) -> Loaded:
        if self._waiting >= self.max_queue:
            raise BusyError
        self._waiting += 1
        try:
            async with self._lock:
                while len(self.running()) >= self.max_loaded and name not in self.loaded:
                    idle = [n for n, m in self.loaded.items() if not m.in_use]
                    if idle:
                        del self.loaded[min(idle, key=lambda n: self.loaded[n].expires)]
                    else:
                        await asyncio.sleep(0.01)
                if name not in self.loaded:
                    await asyncio.sleep(self.load_seconds)
                    self.loaded[name] = Loaded(asyncio.Semaphore(self.num_parallel))
                return self.loaded[name]
        finally:
            self._waiting -= 1
