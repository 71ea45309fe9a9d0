"""Health of targets: counters fed by requests (passive) and by probes (active)."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any

from .balancer import Address, Wheel, wheel_of
from .config import Upstream
from .upstream import ConnectTimeoutError, Outgoing, ReadTimeoutError, Timeouts, UpstreamError, send

LOG = logging.getLogger("kong.healthchecks")
KINDS = ("tcp_failures", "timeouts", "http_failures")


@dataclass
class Counters:
    """Of one address; any failure resets successes, a success resets all failures."""

    successes: int = 0
    failures: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))

    def reset(self) -> None:
        """Start anew, as after every change of state."""
        self.successes, self.failures = 0, dict.fromkeys(KINDS, 0)


class Checker:
    """Health of one upstream's addresses."""

    def __init__(self, upstream: Upstream) -> None:
        """Take every target for healthy."""
        self.upstream = upstream
        self.wheel: Wheel = wheel_of(upstream)
        self._checks: dict[str, Any] = upstream.healthchecks
        self._counters = {address.key: Counters() for address in self.wheel.addresses}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def enabled(self) -> bool:
        """Whether anything is checked at all."""
        active, passive = self._checks["active"], self._checks["passive"]
        probes = (active["healthy"]["interval"], active["unhealthy"]["interval"])
        return any(probes) or any(passive["unhealthy"][kind] for kind in KINDS)

    def state(self, address: Address) -> str:
        """Return Kong's word for an address's health; weight 0 is not checked."""
        if not self.enabled or address.target.weight == 0:
            return "HEALTHCHECKS_OFF"
        return "HEALTHY" if address.available else "UNHEALTHY"

    def report_status(self, address: Address, status: int, check: str = "passive") -> None:
        """Count an answer; a status in neither list counts as nothing."""
        rules = self._checks[check]
        if status in rules["healthy"]["http_statuses"]:
            self._success(address, rules["healthy"]["successes"])
        elif status in rules["unhealthy"]["http_statuses"]:
            self._failure(address, "http_failures", check)

    def report_tcp_failure(self, address: Address, check: str = "passive") -> None:
        """Count a refused or broken connection."""
        self._failure(address, "tcp_failures", check)

    def report_timeout(self, address: Address, check: str = "passive") -> None:
        """Count a timeout."""
        self._failure(address, "timeouts", check)

    def set_health(self, address: Address, *, healthy: bool) -> None:
        """Change the state by hand; probes may change it back."""
        self._counters[address.key].reset()
        self._change(address, healthy)

    def _success(self, address: Address, limit: int) -> None:
        # A counter whose limit is 0 is not counted at all; a healthy address needs no successes.
        if limit == 0 or not self.enabled:
            return
        counters = self._counters[address.key]
        counters.failures = dict.fromkeys(KINDS, 0)
        if address.available:
            return
        counters.successes += 1
        if counters.successes >= limit:
            counters.reset()
            self._change(address, True)

    def _failure(self, address: Address, kind: str, check: str) -> None:
        limit = self._checks[check]["unhealthy"][kind]
        if limit == 0 or not self.enabled:
            return
        counters = self._counters[address.key]
        counters.successes = 0
        if not address.available:
            return
        counters.failures[kind] += 1
        if counters.failures[kind] >= limit:
            counters.reset()
            self._change(address, False)

    def _change(self, address: Address, available: bool) -> None:
        if address.available != available:
            state = "HEALTHY" if available else "UNHEALTHY"
            LOG.warning("upstream %s: target %s is %s", self.upstream.name, address.key, state)
        self.wheel.set_available(address, available)

    def keep(self, earlier: Checker) -> None:
        """Take over the state of targets that were there before a reload."""
        old = {address.key: address for address in earlier.wheel.addresses}
        for address in self.wheel.addresses:
            if address.key in old:
                self._counters[address.key] = earlier._counters[address.key]
                self.wheel.set_available(address, old[address.key].available)

    def start(self) -> None:
        """Begin to probe; the first probe comes after the first interval."""
        active = self._checks["active"]
        if active["type"] != "http":
            return
        for kind, available in (("healthy", True), ("unhealthy", False)):
            if active[kind]["interval"]:
                self._tasks.append(
                    asyncio.create_task(self._probe_for_ever(active[kind]["interval"], available))
                )

    def stop(self) -> None:
        """End all probes."""
        for task in self._tasks:
            task.cancel()

    async def _probe_for_ever(self, interval: float, available: bool) -> None:
        limit = asyncio.Semaphore(int(self._checks["active"]["concurrency"]))

        async def one(address: Address) -> None:
            async with limit:
                await self.probe(address)

        while True:
            await asyncio.sleep(interval)
            chosen = [a for a in self.wheel.addresses if a.target.weight and a.available == available]
            await asyncio.gather(*(one(address) for address in chosen))

    async def probe(self, address: Address) -> None:
        """Ask one address and count the answer."""
        active, target = self._checks["active"], address.target
        headers = [("Host", self.upstream.host_header or target.host)]
        headers += [(n, v) for n, values in (active["headers"] or {}).items() for v in values]
        request = Outgoing("GET", active["http_path"], headers, b"", version="1.0")
        timeout = float(active["timeout"])
        try:
            async with asyncio.timeout(timeout or None):
                timeouts = Timeouts(timeout, timeout, timeout)
                async with send(target.host, target.port, request, timeouts) as answer:
                    status = answer.status
        except (ConnectTimeoutError, ReadTimeoutError, TimeoutError):
            self.report_timeout(address, "active")
        except UpstreamError:
            self.report_tcp_failure(address, "active")
        else:
            self.report_status(address, status, "active")
