"""The prometheus plugin: counters of requests, and the page they are read from."""

import json
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping
from uuid import uuid4

from .balancer import Checker
from .exchange import Exchange

NODE_ID = str(uuid4())
KONG_BUCKETS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
BUCKETS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
LATENCIES = {
    "kong_kong_latency_ms": KONG_BUCKETS,
    "kong_upstream_latency_ms": BUCKETS,
    "kong_request_latency_ms": BUCKETS,
}
STATES = ("healthchecks_off", "healthy", "unhealthy", "dns_error")
Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts per bucket, and the sum."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds, self.counts, self.sum = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def lines(self, name: str, labels: Labels) -> Iterable[str]:
        """Yield the lines of the page."""
        total = 0
        for bound, count in zip([*self.bounds, "+Inf"], self.counts, strict=True):
            total += count
            yield line(f"{name}_bucket", (*labels, ("le", str(bound))), total)
        yield line(f"{name}_sum", labels, self.sum)
        yield line(f"{name}_count", labels, total)


class Metrics:
    """All counters; they outlive a reload."""

    def __init__(self) -> None:
        self._status: dict[Labels, float] = defaultdict(int)
        self._bandwidth: dict[Labels, float] = defaultdict(int)
        self._latency: dict[str, dict[Labels, Histogram]] = {name: {} for name in LATENCIES}

    def count(self, exchange: Exchange) -> None:
        """Count a finished request."""
        if exchange.route is None:
            return
        labels = (("service", exchange.route.service.name), ("route", exchange.route.name))
        workspace = ("workspace", "default")
        consumer = ("consumer", exchange.credential.username if exchange.credential else "")
        source = ("source", "service" if exchange.source == "service" else "kong")
        self._status[(*labels, ("code", str(exchange.status)), source, workspace, consumer)] += 1
        for direction, size in (("ingress", len(exchange.body)), ("egress", exchange.bytes_sent)):
            self._bandwidth[(*labels, ("direction", direction), workspace, consumer)] += size
        total = (time.monotonic() - exchange.started) * 1000
        waited = sum(one.seconds for one in exchange.tries) * 1000
        values = {"kong_request_latency_ms": total, "kong_kong_latency_ms": max(0.0, total - waited)}
        if exchange.tries:
            values["kong_upstream_latency_ms"] = waited
        for name, value in values.items():
            histogram = self._latency[name].setdefault((*labels, workspace), Histogram(LATENCIES[name]))
            histogram.observe(value)

    def page(self, checkers: Iterable[Checker], connections: int) -> str:
        """Return the page."""
        active = (("node_id", NODE_ID), ("subsystem", "http"), ("state", "active"))
        lines = [
            *samples("kong_nginx_connections_total", "gauge", {active: connections}),
            *samples("kong_http_requests_total", "counter", self._status),
            *samples("kong_bandwidth_bytes", "counter", self._bandwidth),
            *samples("kong_upstream_target_health", "gauge", health(checkers)),
        ]
        for name, histograms in self._latency.items():
            lines += [f"# TYPE {name} histogram"] if histograms else []
            for labels, histogram in histograms.items():
                lines += histogram.lines(name, labels)
        return "\n".join(lines) + "\n"


def health(checkers: Iterable[Checker]) -> dict[Labels, float]:
    """Return the health of every target: one sample per state, 1 for the present one."""
    found: dict[Labels, float] = {}
    for checker in checkers:
        for address in checker.wheel.addresses:
            name, now = address.target.name, checker.state(address).lower()
            who = (("upstream", checker.upstream.name), ("target", name), ("address", name))
            found |= {(*who, ("state", state), ("subsystem", "http")): int(state == now) for state in STATES}
    return found


def samples(name: str, kind: str, values: Mapping[Labels, float]) -> list[str]:
    """Return a metric's lines; nothing while there is no sample."""
    return [f"# TYPE {name} {kind}", *(line(name, *one) for one in values.items())] if values else []


def line(name: str, labels: Labels, value: float) -> str:
    """Return one sample."""
    # What Prometheus escapes is escaped as in JSON.
    inside = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in labels)
    return f"{name}{{{inside}}} {value:.15g}"
