"""The process: listeners for clients, for the status and the admin API, signals, and a graceful end."""

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from . import SERVER
from .balancer import Address, Checker
from .config import Config, load
from .proxy import Gateway
from .settings import Settings

LOG = logging.getLogger("kong")
LOG_FORMAT = "%(asctime)s [%(levelname)s] %(name)s: %(message)s"


def answer(status: int, body: dict[str, Any]) -> web.Response:
    """Return JSON, marked as a stand-in's."""
    return web.json_response(body, status=status, headers={"Server": SERVER})


def status_api(gateway: Gateway) -> web.Application:
    """Return what this project asks of the status API. Nobody is asked for a password, as in Kong."""

    async def node_status(_request: web.Request) -> web.Response:
        return answer(200, {"configuration_hash": gateway.now.config.hash})

    async def ready(_request: web.Request) -> web.Response:
        # It never serves without a configuration.
        return answer(200, {"message": "ready"})

    async def metrics(_request: web.Request) -> web.Response:
        page = gateway.now.metrics.page(gateway.now.checkers.values(), gateway.under_way)
        return web.Response(text=page, headers={"Server": SERVER})

    async def health(request: web.Request) -> web.Response:
        checker = gateway.now.checkers.get(request.match_info["upstream"])
        if checker is None:
            return answer(404, {"message": "Not found"})
        return answer(200, {"data": [shown(checker, address) for address in checker.wheel.addresses]})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/status", node_status)
    app.router.add_get("/status/ready", ready)
    app.router.add_get("/upstreams/{upstream}/health", health)
    return app


def admin_api(gateway: Gateway) -> web.Application:
    """Return what this project asks of the admin API."""

    async def healthy(request: web.Request) -> web.Response:
        checker = gateway.now.checkers.get(request.match_info["upstream"])
        if checker is None or not checker.tell_healthy(request.match_info["target"]):
            return answer(404, {"message": "Not found"})
        return web.Response(status=204, headers={"Server": SERVER})

    app = web.Application()
    app.router.add_put("/upstreams/{upstream}/targets/{target}/healthy", healthy)
    return app


def shown(checker: Checker, address: Address) -> dict[str, Any]:
    """Return a target as the API shows it."""
    one, health = address.target, checker.state(address)
    return {"target": one.name, "weight": one.weight, "tags": list(one.tags), "health": health}


def pid_file(settings: Settings) -> Path:
    """Return where the process says its number."""
    return settings.prefix / "pids" / "nginx.pid"


class Server:
    """Three listeners over one gateway."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self._settings = settings
        self.gateway = Gateway(settings, config)
        self.runners: list[web.BaseRunner] = []

    async def run(self) -> None:
        """Serve until told to stop."""
        logging.addLevelName(25, "NOTICE")
        logging.addLevelName(logging.CRITICAL, "CRIT")
        logging.basicConfig(level=self._settings.log_level.upper(), format=LOG_FORMAT)
        loop = asyncio.get_running_loop()
        graceful: asyncio.Future[bool] = loop.create_future()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        loop.add_signal_handler(signal.SIGQUIT, graceful.set_result, True)
        loop.add_signal_handler(signal.SIGTERM, graceful.set_result, False)
        await self.start()
        LOG.warning("STAND-IN for Kong, configuration %s", self.gateway.now.config.hash)
        pid_file(self._settings).parent.mkdir(parents=True, exist_ok=True)
        pid_file(self._settings).write_text(f"{os.getpid()}\n")
        await self.end(graceful=await graceful)

    async def start(self) -> None:
        """Open the listeners (proxy, status, admin) and begin to probe."""
        # A client that hangs up ends its request, upstream too. Bodies are passed on as they are.
        proxy = web.Server(
            self.gateway.handle, handler_cancellation=True, access_log=None, auto_decompress=False
        )
        status, admin = (web.AppRunner(api(self.gateway), access_log=None) for api in (status_api, admin_api))
        self.runners = [web.ServerRunner(proxy), status, admin]
        for runner in self.runners:
            await runner.setup()
        await web.TCPSite(self.runners[0], *self._settings.proxy, backlog=1024).start()
        await web.TCPSite(status, *self._settings.status).start()
        await web.TCPSite(admin, *self._settings.admin).start()
        self.gateway.now.start()

    async def end(self, *, graceful: bool = False) -> None:
        """Close everything; gracefully means that answers under way are finished first."""
        for runner in self.runners:
            for site in list(runner.sites):
                await site.stop()
        while graceful and self.gateway.under_way:
            await asyncio.sleep(0.05)
        self.gateway.stop()
        for runner in self.runners:
            with suppress(TimeoutError):
                await runner.cleanup()

    def reload(self) -> None:
        """Read the file again; a bad one leaves the old configuration in place."""
        try:
            self.gateway.load(load(self._settings.declarative_config, self._settings.plugins))
        except (OSError, ValueError) as problem:
            LOG.error("error parsing declarative config file, keeping the old one:\n%s", problem)
        else:
            LOG.warning("reloaded, configuration %s", self.gateway.now.config.hash)
