"""http-log: one JSON record per request, sent in the background and retried."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from .config import Plugin
from .exchange import Exchange
from .upstream import Outgoing, Timeouts, UpstreamError, send

LOG = logging.getLogger("kong.http-log")
REDACTED = ("authorization", "proxy-authorization")


class HttpLog:
    """A queue and a sender per plugin; a full queue drops its oldest record."""

    def __init__(self) -> None:
        """Start with nothing to send."""
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, exchange: Exchange, plugin: Plugin) -> None:
        """Queue the record of a finished request."""
        if plugin.id not in self._queues:
            self._queues[plugin.id] = asyncio.Queue(plugin.config["queue"]["max_entries"])
            task = asyncio.create_task(self._send_for_ever(self._queues[plugin.id], plugin))
            self._tasks.add(task)
        queue = self._queues[plugin.id]
        if queue.full():
            LOG.error("queue full, dropping old entries until processing is successful again")
            queue.get_nowait()
        queue.put_nowait(record_of(exchange))

    def stop(self) -> None:
        """End all senders."""
        for task in self._tasks:
            task.cancel()

    async def _send_for_ever(self, queue: asyncio.Queue[dict[str, Any]], plugin: Plugin) -> None:
        rules = plugin.config["queue"]
        while True:
            batch = [await queue.get()]
            if rules["max_batch_size"] > 1:
                await asyncio.sleep(rules["max_coalescing_delay"])
            while not queue.empty() and len(batch) < rules["max_batch_size"]:
                batch.append(queue.get_nowait())
            body = json.dumps(batch[0] if rules["max_batch_size"] == 1 else batch).encode()
            await self._deliver(body, plugin.config)

    async def _deliver(self, body: bytes, config: dict[str, Any]) -> None:
        rules, began = config["queue"], time.monotonic()
        delay = rules["initial_retry_delay"]
        while (problem := await attempt(body, config)) is not None:
            if time.monotonic() - began + delay > rules["max_retry_time"]:
                LOG.error("could not send entries, giving up: %s", problem)
                return
            LOG.warning("handler could not process entries, will retry: %s", problem)
            await asyncio.sleep(delay)
            delay = min(delay * 2, rules["max_retry_delay"])


async def attempt(body: bytes, config: dict[str, Any]) -> str | None:
    """Send once; return what went wrong, or None."""
    url = urlsplit(config["http_endpoint"])
    headers = [
        ("Host", url.netloc),
        ("Content-Type", config["content_type"]),
        *(config["headers"] or {}).items(),
    ]
    headers.append(("Content-Length", str(len(body))))
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    seconds = config["timeout"] / 1000
    try:
        request = Outgoing(config["method"], target, headers, body)
        timeouts = Timeouts(seconds, seconds, seconds)
        async with send(url.hostname or "", url.port or 80, request, timeouts) as answer:
            # Kong takes anything below 300 for success.
            return None if answer.status < HTTPStatus.MULTIPLE_CHOICES else f"status {answer.status}"
    except UpstreamError as problem:
        return str(problem)


def record_of(exchange: Exchange) -> dict[str, Any]:
    """Return the record, in Kong's shape."""
    shown = {n.lower(): "REDACTED" if n.lower() in REDACTED else v for n, v in exchange.headers.items()}
    total = int((time.monotonic() - exchange.started) * 1000)
    waited = int(sum(one.seconds for one in exchange.tries) * 1000)
    service, route, consumer = exchange.service, exchange.route, exchange.consumer
    return {
        "request": {
            "id": exchange.id,
            "method": exchange.method,
            "uri": exchange.path + (f"?{exchange.query}" if exchange.query else ""),
            "querystring": dict(parse_qsl(exchange.query)),
            "headers": shown,
            "size": len(exchange.body),
        },
        "response": {
            "status": exchange.status,
            "headers": {name.lower(): value for name, value in exchange.answer_headers.items()},
            "size": exchange.bytes_sent,
        },
        "upstream_uri": exchange.out_path,
        "upstream_status": ", ".join(str(one.status or one.code) for one in exchange.tries),
        "source": {"service": "upstream", "exit": "kong", "error": "kong"}[exchange.source],
        "tries": [
            {"ip": t.ip, "port": t.port, "state": t.state, "code": t.code,
             "balancer_latency": t.balancer_latency_ms}
            for t in exchange.tries
        ],
        "service": {"id": service.id, "name": service.name, "host": service.host} if service else None,
        "route": {"id": route.id, "name": route.name} if route else None,
        "consumer": {"id": consumer.id, "username": consumer.username} if consumer else None,
        "latencies": {"request": total, "proxy": waited, "kong": total - waited},
        "client_ip": exchange.client_ip,
        "started_at": int(time.time() * 1000) - total,
        **{name: exchange.values[name] for name in ("correlation_id",) if name in exchange.values},
        **exchange.values.get("log", {}),
    }  # fmt: skip
