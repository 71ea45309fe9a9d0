"""The prometheus plugin: counters of requests, and the page they are read from."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable
from math import inf

from .balancer import Checker
from .exchange import Exchange

KONG_BUCKETS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
BUCKETS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
LATENCIES = {
    "kong_kong_latency_ms": KONG_BUCKETS,
    "kong_upstream_latency_ms": BUCKETS,
    "kong_request_latency_ms": BUCKETS,
}
TYPES = {
    "kong_nginx_connections_total": "gauge",
    "kong_http_requests_total": "counter",
    "kong_bandwidth_bytes": "counter",
    "kong_upstream_target_health": "gauge",
    **dict.fromkeys(LATENCIES, "histogram"),
}
STATES = ("healthchecks_off", "healthy", "unhealthy", "dns_error")
Labels = tuple[tuple[str, str], ...]
Samples = dict[Labels, float]


class Metrics:
    """All counters; they outlive a reload."""

    def __init__(self) -> None:
        self._counted: dict[str, Samples] = defaultdict(lambda: defaultdict(float))

    def count(self, exchange: Exchange) -> None:
        """Count a finished request."""
        if exchange.route is None:
            return
        labels = (("service", exchange.route.service.name), ("route", exchange.route.name))
        consumer = ("consumer", exchange.credential.username if exchange.credential else "")
        source = ("source", "service" if exchange.source == "service" else "kong")
        answered = (*labels, ("code", str(exchange.status)), source, consumer)
        self._counted["kong_http_requests_total"][answered] += 1
        for direction, size in (("ingress", len(exchange.body)), ("egress", exchange.bytes_sent)):
            passed = (*labels, ("direction", direction), consumer)
            self._counted["kong_bandwidth_bytes"][passed] += size
        total = (time.monotonic() - exchange.started) * 1000
        waited = sum(one.seconds for one in exchange.tries) * 1000
        values = {"kong_request_latency_ms": total, "kong_kong_latency_ms": max(0.0, total - waited)}
        if exchange.tries:
            values["kong_upstream_latency_ms"] = waited
        for name, value in values.items():
            self._observe(name, labels, value)

    def _observe(self, name: str, labels: Labels, value: float) -> None:
        for bound in (*LATENCIES[name], inf):
            le = ("le", "+Inf" if bound == inf else str(bound))
            self._counted[f"{name}_bucket"][(*labels, le)] += value <= bound
        self._counted[f"{name}_sum"][labels] += value
        self._counted[f"{name}_count"][labels] += 1

    def page(self, checkers: Iterable[Checker], connections: int) -> str:
        """Return the page."""
        samples = self._counted | {
            "kong_nginx_connections_total": {(("state", "active"),): connections},
            "kong_upstream_target_health": health(checkers),
        }
        lines = []
        for name, kind in TYPES.items():
            lines.append(f"# TYPE {name} {kind}")
            for part in (name, f"{name}_bucket", f"{name}_sum", f"{name}_count"):
                lines += [line(part, *one) for one in samples.get(part, {}).items()]
        return "\n".join(lines) + "\n"


def health(checkers: Iterable[Checker]) -> Samples:
    """Return the health of every target: one sample per state, 1 for the present one."""
    found: Samples = {}
    for checker in checkers:
        for address in checker.wheel.addresses:
            name, now = address.target.name, checker.state(address).lower()
            who = (("upstream", checker.upstream.name), ("target", name), ("address", name))
            found |= {(*who, ("state", state)): int(state == now) for state in STATES}
    return found


def line(name: str, labels: Labels, value: float) -> str:
    """Return one sample."""
    # What Prometheus escapes is escaped as in JSON.
    inside = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in labels)
    return f"{name}{{{inside}}} {value:.15g}"
