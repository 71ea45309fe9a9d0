"""The prometheus plugin: counters of requests, and the page they are read from."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from . import VERSION
from .exchange import Exchange
from .healthcheck import Checker

NODE_ID = str(uuid4())
KONG_BUCKETS = (1, 2, 5, 7, 10, 15, 20, 30, 50, 75, 100, 200, 500, 750, 1000, 3000, 6000)
BUCKETS = (25, 50, 80, 100, 250, 400, 700, 1000, 2000, 5000, 10000, 30000, 60000)
LATENCIES = {"kong_latency_ms": KONG_BUCKETS, "upstream_latency_ms": BUCKETS, "request_latency_ms": BUCKETS}
STATES = ("healthchecks_off", "healthy", "unhealthy", "dns_error")
Labels = tuple[tuple[str, str], ...]


class Histogram:
    """Counts per bucket, the sum and the count."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        """Start at zero."""
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
        """Start at zero."""
        self.requests_total = 0
        self._status: dict[Labels, int] = defaultdict(int)
        self._bandwidth: dict[Labels, int] = defaultdict(int)
        self._latency: dict[tuple[str, Labels], Histogram] = {}

    def count(self, exchange: Exchange, config: dict[str, Any], consumer: str) -> None:
        """Count a finished request; one that matched no route is not counted."""
        if exchange.route is None:
            return
        who = consumer if config["per_consumer"] else ""
        labels = (
            ("service", exchange.service.name if exchange.service else ""),
            ("route", exchange.route.name),
        )
        if config["status_code_metrics"]:
            source = "service" if exchange.source == "service" else "kong"
            self._status[
                (*labels, ("code", str(exchange.status)), ("source", source), ("workspace", "default"),
                 ("consumer", who))
            ] += 1  # fmt: skip
        if config["bandwidth_metrics"]:
            for direction, size in (("ingress", len(exchange.body)), ("egress", exchange.bytes_sent)):
                self._bandwidth[
                    (*labels, ("direction", direction), ("workspace", "default"), ("consumer", who))
                ] += size
        if config["latency_metrics"]:
            self._count_latency(exchange, (*labels, ("workspace", "default")))

    def _count_latency(self, exchange: Exchange, labels: Labels) -> None:
        total = (time.monotonic() - exchange.started) * 1000
        waited = sum(one.seconds for one in exchange.tries) * 1000
        values = {"request_latency_ms": total, "kong_latency_ms": max(0.0, total - waited)}
        if exchange.tries:
            values["upstream_latency_ms"] = waited
        for name, value in values.items():
            if (name, labels) not in self._latency:
                self._latency[(name, labels)] = Histogram(LATENCIES[name])
            self._latency[(name, labels)].observe(value)

    def page(self, configs: list[dict[str, Any]], checkers: Iterable[Checker], connections: int) -> str:
        """Return the page; without the plugin there is none to ask for it."""
        node = ("node_id", NODE_ID)
        lines = [
            *head("datastore_reachable", "gauge", "Datastore reachable from Kong, 0 is unreachable"),
            line("datastore_reachable", (), 1),
            *head("node_info", "gauge", "Kong Node metadata information"),
            line("node_info", (node, ("version", VERSION)), 1),
            *head("nginx_connections_total", "gauge", "Number of connections by subsystem"),
            line("nginx_connections_total", (node, ("subsystem", "http"), ("state", "active")), connections),
            *head("nginx_metric_errors_total", "counter", "Number of nginx-lua-prometheus errors"),
            line("nginx_metric_errors_total", (), 0),
            *head("nginx_requests_total", "gauge", "Number of requests total"),
            line("nginx_requests_total", (node, ("subsystem", "http")), self.requests_total),
        ]
        if self._status:
            lines += head(
                "http_requests_total", "counter", "HTTP status codes per consumer/service/route in Kong"
            )
            lines += [line("http_requests_total", labels, n) for labels, n in sorted(self._status.items())]
        if self._bandwidth:
            lines += head(
                "bandwidth_bytes", "counter", "Total bandwidth (ingress/egress) throughput in bytes"
            )
            lines += [line("bandwidth_bytes", labels, n) for labels, n in sorted(self._bandwidth.items())]
        for name in LATENCIES:
            found = [(labels, h) for (n, labels), h in self._latency.items() if n == name]
            if found:
                lines += head(name, "histogram", "Latency in milliseconds")
            for labels, histogram in found:
                lines += histogram.lines(name, labels)
        if any(config["upstream_health_metrics"] for config in configs):
            lines += health_lines(checkers)
        return "\n".join(lines) + "\n"


def health_lines(checkers: Iterable[Checker]) -> list[str]:
    """Return the health of every target: one line per state, 1 for the present one."""
    lines = head("upstream_target_health", "gauge", "Health status of targets of upstream.")
    for checker in checkers:
        for address in checker.wheel.addresses:
            now = checker.state(address).lower()
            for state in STATES:
                labels = (
                    ("upstream", checker.upstream.name), ("target", address.key), ("address", address.key),
                    ("state", state), ("subsystem", "http"),
                )  # fmt: skip
                lines.append(line("upstream_target_health", labels, int(state == now)))
    return lines


def head(name: str, kind: str, text: str) -> list[str]:
    """Return a metric's comment lines."""
    return [f"# HELP kong_{name} {text}", f"# TYPE kong_{name} {kind}"]


def line(name: str, labels: Labels, value: float) -> str:
    """Return one sample."""
    inside = ",".join(f'{key}="{escaped(text)}"' for key, text in labels)
    return f"kong_{name}{{{inside}}} {value:.15g}" if inside else f"kong_{name} {value:.15g}"


def escaped(text: str) -> str:
    """Return a label's value as Prometheus wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
