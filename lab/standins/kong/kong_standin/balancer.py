"""The wheel, which says where a request goes, and the health of its targets.

Health is counted from requests (passive) and from probes (active).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import md5
from math import gcd

from aiohttp import ClientTimeout

from .config import Target, Upstream
from .exchange import Try
from .upstream import TIMED_OUT, Outgoing, UpstreamError, send

LOG = logging.getLogger("kong.healthchecks")


class NoPeerError(Exception):
    """Nobody to send to."""


@dataclass(eq=False)
class Address:
    """A target on the wheel, and what was counted since its state last changed."""

    target: Target
    available: bool = True
    successes: int = 0
    failures: Counter[str] = field(default_factory=Counter)


class Wheel:
    """`weight / gcd` slots per address, shuffled once; every pick moves the pointer by one slot.

    Which targets failed is not remembered within a request: a retry is just the next slot.
    """

    def __init__(self, targets: Iterable[Target]) -> None:
        self.addresses, self._pointer = [Address(target) for target in targets], 0
        self.rebuild()

    def rebuild(self) -> None:
        """Fill and shuffle the wheel anew, as Kong does when health changes; the pointer stays."""
        divisor = gcd(*(address.target.weight for address in self.addresses)) or 1
        self.slots = [a for a in self.addresses for _ in range(a.target.weight // divisor)]
        random.shuffle(self.slots)

    def pick(self, hashed: str = "") -> Address:
        """Return the next available address, or always the same one for a text. Raises NoPeerError."""
        if hashed and (found := [one for one in self.slots if one.available]):
            return max(found, key=lambda one: md5(f"{hashed} {one.target.name}".encode()).digest())
        for _ in self.slots:
            self._pointer = (self._pointer + 1) % len(self.slots)
            if self.slots[self._pointer].available:
                return self.slots[self._pointer]
        raise NoPeerError


class Checker:
    """Health of one upstream's addresses."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.wheel = Wheel(upstream.targets)
        self._checks = upstream.healthchecks
        self._tasks: list[asyncio.Task[None]] = []

    def state(self, address: Address) -> str:
        """Return Kong's word for an address's health; weight 0 is not checked."""
        if address.target.weight == 0:
            return "HEALTHCHECKS_OFF"
        return "HEALTHY" if address.available else "UNHEALTHY"

    def report_status(self, address: Address, status: int) -> None:
        """Count what a probe was answered; a status in neither list counts as nothing."""
        rules = self._checks["active"]
        if status in rules["healthy"]["http_statuses"]:
            address.failures.clear()
            if not address.available:
                address.successes += 1
                if address.successes >= rules["healthy"]["successes"]:
                    self._change(address, True)
        elif status in rules["unhealthy"]["http_statuses"]:
            self.report_failure(address, "http_failures", "active")

    def report_answer(self, address: Address, status: int) -> None:
        """Count how a request ended there. As in Kong, a refused last try counts as an answer of 502."""
        if status == TIMED_OUT:
            self.report_failure(address, "timeouts")
        elif status in self._checks["passive"]["unhealthy"]["http_statuses"]:
            self.report_failure(address, "http_failures")

    def report_failure(self, address: Address, kind: str, check: str = "passive") -> None:
        """Count a refused or broken connection (`tcp_failures`), a timeout, or a bad answer."""
        address.successes = 0
        if address.available:
            address.failures[kind] += 1
            if address.failures[kind] >= self._checks[check]["unhealthy"][kind]:
                self._change(address, False)

    def tell_healthy(self, name: str) -> bool:
        """Take a target for healthy, as the admin API says it is; False if there is none of that name."""
        found = [address for address in self.wheel.addresses if address.target.name == name]
        for address in found:
            self._change(address, True)
        return bool(found)

    def _change(self, address: Address, available: bool) -> None:
        state = "HEALTHY" if available else "UNHEALTHY"
        LOG.warning("upstream %s: target %s is %s", self.upstream.name, address.target.name, state)
        address.available, address.successes, address.failures = available, 0, Counter()
        self.wheel.rebuild()

    def keep(self, earlier: Checker) -> None:
        """Take over the state of targets that were there before a reload."""
        old = {address.target.name: address for address in earlier.wheel.addresses}
        for address in self.wheel.addresses:
            if before := old.get(address.target.name):
                address.available = before.available
                address.successes, address.failures = before.successes, before.failures

    def start(self) -> None:
        """Begin to probe; healthy and unhealthy targets have timers of their own."""
        for kind, available in (("healthy", True), ("unhealthy", False)):
            interval = self._checks["active"][kind]["interval"]
            self._tasks.append(asyncio.create_task(self._probe_for_ever(interval, available)))

    def stop(self) -> None:
        """End all probes."""
        for task in self._tasks:
            task.cancel()

    async def _probe_for_ever(self, interval: float, available: bool) -> None:
        # The first probe comes after the first interval.
        while True:
            await asyncio.sleep(interval)
            chosen = [a for a in self.wheel.addresses if a.target.weight and a.available == available]
            await asyncio.gather(*map(self.probe, chosen))

    async def probe(self, address: Address) -> None:
        """Ask one address and count the answer."""
        active = self._checks["active"]
        limits, request = ClientTimeout(total=active["timeout"]), Outgoing("GET", active["http_path"])
        try:
            async with send(Try(address), request, limits) as answer:
                status = answer.status
        except UpstreamError as problem:
            self.report_failure(address, problem.kind, "active")
        else:
            self.report_status(address, status)
