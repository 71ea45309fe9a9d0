"""http-log: one JSON record per request, sent in the background and retried."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import aiohttp

from .config import Plugin
from .exchange import Exchange

LOG = logging.getLogger("kong.http-log")
REDACTED = ("authorization", "proxy-authorization")
INITIAL_RETRY_DELAY_S = 0.01


class HttpLog:
    """A queue and a sender per endpoint, of all plugins; a full queue drops its oldest record."""

    def __init__(self) -> None:
        """Start with nothing to send."""
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, exchange: Exchange, plugin: Plugin) -> None:
        """Queue the record of a finished request."""
        name = plugin.config["http_endpoint"]
        if name not in self._queues:
            self._queues[name] = asyncio.Queue(plugin.config["queue"]["max_entries"])
            self._tasks.add(asyncio.create_task(self._send_for_ever(self._queues[name], plugin)))
        queue = self._queues[name]
        if queue.full():
            LOG.error("queue full, dropping old entries until processing is successful again")
            queue.get_nowait()
        queue.put_nowait(record_of(exchange))

    def stop(self) -> None:
        """End all senders."""
        for task in self._tasks:
            task.cancel()

    async def _send_for_ever(self, queue: asyncio.Queue[dict[str, Any]], plugin: Plugin) -> None:
        limit, longest = (plugin.config["queue"][name] for name in ("max_retry_time", "max_retry_delay"))
        while True:
            body = json.dumps(await queue.get()).encode()
            began, delay = time.monotonic(), INITIAL_RETRY_DELAY_S
            while problem := await attempt(body, plugin.config):
                if time.monotonic() - began + delay > limit:
                    LOG.error("could not send entries, giving up: %s", problem)
                    break
                LOG.warning("handler could not process entries, will retry: %s", problem)
                await asyncio.sleep(delay)
                delay = min(delay * 2, longest)


async def attempt(body: bytes, config: dict[str, Any]) -> str:
    """Send once; return what went wrong, or nothing."""
    headers = {"Content-Type": "application/json"} | config.get("headers", {})
    timeout = aiohttp.ClientTimeout(total=config["timeout"] / 1000)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(config["http_endpoint"], data=body, headers=headers) as answer,
        ):
            # Kong takes anything below 300 for success.
            return "" if answer.status < HTTPStatus.MULTIPLE_CHOICES else f"status {answer.status}"
    except (aiohttp.ClientError, TimeoutError) as problem:
        return repr(problem)


def record_of(exchange: Exchange) -> dict[str, Any]:
    """Return what the database reads of Kong's record, and what the shipped Lua takes away."""
    shown = {n.lower(): "REDACTED" if n.lower() in REDACTED else v for n, v in exchange.headers.items()}
    total = int((time.monotonic() - exchange.started) * 1000)
    record: dict[str, Any] = {
        "request": {
            "id": exchange.id,
            "headers": shown,
            "uri": exchange.path + (f"?{exchange.query}" if exchange.query else ""),
            "querystring": dict(parse_qsl(exchange.query)),
        },
        "response": {"headers": {name.lower(): value for name, value in exchange.answer_headers.items()}},
        "upstream_uri": exchange.out_path,
        "tries": [{"ip": one.address.target.host} for one in exchange.tries],
        "consumer": exchange.credential and {"username": exchange.credential.username},
        "latencies": {"request": total},
        "started_at": int(time.time() * 1000) - total,
    }
    for name, value in exchange.serialized:
        *parents, last = name.split(".")
        place = record
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return record
