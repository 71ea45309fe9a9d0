"""rate-limiting: one window a minute, counted here or in Redis."""

import asyncio
import logging
import os
import time
from typing import Any

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from .config import NOBODY, Plugin
from .exchange import Exchange

LOG = logging.getLogger("kong.rate-limiting")
WINDOW_S = 60
# Kong's own script: whoever comes first sets the expiry.
COUNT = """
local result = redis.call("incr", KEYS[1])
if result == 1 then redis.call("expire", KEYS[1], ARGV[1]) end
return result - 1
"""


class RateLimits:
    """Counters of all rate-limiting plugins; they outlive a reload."""

    def __init__(self) -> None:
        self._local: dict[str, int] = {}
        self._clients: dict[tuple[Any, ...], redis.asyncio.Redis] = {}

    async def access(self, exchange: Exchange, plugin: Plugin) -> None:
        """Count the request; answer 429 beyond the limit. Raises ExitError."""
        now, limit = int(time.time()), plugin.config["minute"]
        start = now - now % WINDOW_S
        who = exchange.credential and exchange.credential.consumer_id
        window = f":{start * 1000}:minute"
        # Of a route, and of no service.
        key = f"ratelimit:{plugin.route}:{NOBODY}:{who}{window}"
        try:
            used = await self._used(key, plugin.config)
        except (RedisError, OSError, TimeoutError) as problem:
            LOG.error("failed to get usage, the request passes uncounted: %s", problem or "timeout")
            return
        reset, remaining = str(start + WINDOW_S - now), str(max(0, limit - used - 1))
        exchange.answer_headers.update({
            "X-RateLimit-Limit-Minute": str(limit), "X-RateLimit-Remaining-Minute": remaining,
            "RateLimit-Limit": str(limit), "RateLimit-Remaining": remaining, "RateLimit-Reset": reset,
        })  # fmt: skip
        if used >= limit:
            exchange.exit(429, "API rate limit exceeded", {"Retry-After": reset})
        if plugin.config["policy"] == "local":
            self._local = {k: n for k, n in self._local.items() if k.endswith(window)} | {key: used + 1}

    async def _used(self, key: str, config: dict[str, Any]) -> int:
        if config["policy"] == "local":
            return self._local.get(key, 0)
        async with asyncio.timeout(config["redis"]["timeout"] / 1000):
            return int(await self._client(config["redis"]).eval(COUNT, 1, key, WINDOW_S))

    def _client(self, where: dict[str, Any]) -> redis.asyncio.Redis:
        place, seconds = tuple(where.values()), where["timeout"] / 1000
        if place not in self._clients:
            tls: dict[str, Any] = {}
            if where.get("ssl"):
                # The certificate names the address, too, which is what this client compares.
                trusted = os.environ["KONG_LUA_SSL_TRUSTED_CERTIFICATE"].rpartition(",")[2]
                tls = {"ssl": True, "ssl_ca_certs": trusted, "ssl_check_hostname": True}
            self._clients[place] = redis.asyncio.Redis(
                host=where["host"], port=where["port"], password=where["password"], socket_timeout=seconds,
                # One more try: a kept connection may have gone stale.
                socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 1), **tls,
            )  # fmt: skip
        return self._clients[place]
