"""rate-limiting: fixed windows, counted here or in Redis."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from datetime import UTC, datetime
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .config import Plugin
from .exchange import Exchange, PluginError
from .schema import PERIODS

LOG = logging.getLogger("kong.rate-limiting")
SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "month": 2592000, "year": 31536000}
NOBODY = "00000000-0000-0000-0000-000000000000"
# Kong's own script: whoever comes first sets the expiry.
COUNT = """
local result = redis.call("incr", KEYS[1])
if result == 1 then redis.call("expire", KEYS[1], ARGV[1]) end
return result - 1
"""


class RateLimits:
    """Counters of all rate-limiting plugins; they outlive a reload."""

    def __init__(self) -> None:
        """Start with no counters and no connections."""
        self._local: dict[str, tuple[int, float]] = {}
        self._clients: dict[str, redis.asyncio.Redis] = {}

    async def access(self, exchange: Exchange, plugin: Plugin) -> None:
        """Count the request; answer 429 beyond a limit. Raises ExitError, PluginError."""
        config, now = plugin.config, int(time.time())
        limits = {period: config[period] for period in PERIODS if config[period] is not None}
        try:
            used = await self._used(plugin, key_prefix(exchange, plugin), limits, now)
        except (RedisError, OSError, TimeoutError) as problem:
            LOG.error("failed to get usage: %s", problem or "timeout")
            if not config["fault_tolerant"]:
                raise PluginError(f"rate-limiting: {problem or 'timeout'}") from None
            return
        over = [period for period in limits if used[period] >= limits[period]]
        headers = limit_headers(limits, used, now, over[-1] if over else None)
        if over:
            headers["Retry-After"] = headers["RateLimit-Reset"]
        if not config["hide_client_headers"]:
            exchange.answer_headers.update(headers)
        if over:
            exchange.exit(int(config["error_code"]), config["error_message"])
        if config["policy"] == "local":
            self._count_local(key_prefix(exchange, plugin), limits, now)

    async def _used(self, plugin: Plugin, prefix: str, limits: dict[str, float], now: int) -> dict[str, int]:
        keys = {period: f"{prefix}:{window_start(period, now) * 1000}:{period}" for period in limits}
        if plugin.config["policy"] == "local":
            return {period: self._get_local(key, now) for period, key in keys.items()}
        client = self._client(plugin.config["redis"])
        async with asyncio.timeout(plugin.config["redis"]["timeout"] / 1000):
            return {
                period: int(await client.eval(COUNT, 1, key, SECONDS[period])) for period, key in keys.items()
            }

    def _client(self, where: dict[str, Any]) -> redis.asyncio.Redis:
        name = f"{where['host']}:{where['port']};{where['database']};{where['password']}"
        if name not in self._clients:
            seconds = where["timeout"] / 1000
            self._clients[name] = redis.asyncio.Redis(
                host=where["host"], port=where["port"], db=where["database"], username=where["username"],
                password=from_vault(where["password"]), socket_timeout=seconds,
                # One more try: a kept connection may have gone stale.
                socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1),
            )  # fmt: skip
        return self._clients[name]

    def _get_local(self, key: str, now: float) -> int:
        count, until = self._local.get(key, (0, 0.0))
        return count if until > now else 0

    def _count_local(self, prefix: str, limits: dict[str, float], now: int) -> None:
        self._local = {key: entry for key, entry in self._local.items() if entry[1] > now}
        for period in limits:
            key = f"{prefix}:{window_start(period, now) * 1000}:{period}"
            self._local[key] = (self._get_local(key, now) + 1, now + SECONDS[period])


def key_prefix(exchange: Exchange, plugin: Plugin) -> str:
    """Return the part of a counter's key that says what is counted: scope of the plugin, and who."""
    route = exchange.route.id if plugin.route and exchange.route else NOBODY
    service = exchange.service.id if plugin.service and exchange.service else NOBODY
    return f"ratelimit:{route}:{service}:{identifier(exchange, plugin.config)}"


def identifier(exchange: Exchange, config: dict[str, Any]) -> str:
    """Return who is limited; without anything better, the client's address."""
    by, credential = config["limit_by"], exchange.credential
    found: str | None = None
    if by == "consumer":
        found = exchange.consumer.id if exchange.consumer else credential.id if credential else None
    elif by == "credential":
        found = credential.id if credential else None
    elif by == "service":
        found = exchange.service.id if exchange.service else None
    elif by == "header":
        found = exchange.out_headers.get(config["header_name"])
    elif by == "path" and exchange.path == config["path"]:
        found = exchange.path
    return found or exchange.client_ip


def window_start(period: str, now: int) -> int:
    """Return when the current window of a period began: epoch seconds, UTC."""
    if period in ("second", "minute", "hour", "day"):
        return now - now % SECONDS[period]
    day = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0)
    return int((day.replace(month=1) if period == "year" else day).timestamp())


def limit_headers(
    limits: dict[str, float], used: dict[str, int], now: int, stop: str | None
) -> dict[str, str]:
    """Return Kong's headers; the general ones are of the period with the least remaining."""
    headers: dict[str, str] = {}
    tightest: tuple[float, int, str] | None = None
    for period, limit in limits.items():
        # The request itself counts, unless another period has stopped it.
        own = 1 if stop in (None, period) else 0
        remaining = max(0, limit - used[period] - own)
        headers[f"X-RateLimit-Limit-{period.capitalize()}"] = f"{limit:g}"
        headers[f"X-RateLimit-Remaining-{period.capitalize()}"] = f"{remaining:g}"
        rank = (remaining, -SECONDS[period], period)
        tightest = min(tightest, rank) if tightest else rank
    if tightest:
        period = tightest[2]
        headers["RateLimit-Limit"] = f"{limits[period]:g}"
        headers["RateLimit-Remaining"] = f"{tightest[0]:g}"
        headers["RateLimit-Reset"] = str(max(1, SECONDS[period] - (now - window_start(period, now))))
    return headers


def from_vault(value: str | None) -> str | None:
    """Return the value, or what `{vault://env/name}` refers to."""
    found = re.fullmatch(r"\{vault://env/([\w-]+)\}", value or "")
    return os.environ.get(found[1].upper().replace("-", "_")) if found else value
