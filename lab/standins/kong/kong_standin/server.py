"""The process: listeners for clients, for the admin and the status API, signals, and a graceful end."""

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from . import SERVER, VERSION
from .balancer import Checker
from .config import Config, load
from .fields import InvalidError
from .proxy import Gateway
from .settings import Settings

LOG = logging.getLogger("kong")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOG_FORMAT = "%(asctime)s [%(levelname)s] %(name)s: %(message)s"


def answer(status: int, body: dict[str, Any]) -> web.Response:
    """Return JSON, marked as a stand-in's."""
    return web.json_response(body, status=status, headers={"Server": SERVER})


@web.middleware
async def not_found(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what is not there in Kong's words."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return answer(404, {"message": "Not found"})


class Api:
    """What this project asks of the admin and the status API. Nothing in them changes anything."""

    def __init__(self, gateway: Gateway) -> None:
        """Show `gateway`; neither listener asks for a password, as Kong's do not."""
        self._gateway = gateway
        self.admin_paths: dict[str, Handler] = {"/upstreams/{upstream}/health": self.health}
        self.status_paths: dict[str, Handler] = {
            "/metrics": self.metrics,
            "/status": self.node_status,
            "/status/ready": self.ready,
            "/upstreams/{upstream}/health": self.health,
            "/upstreams/{upstream}/targets": self.targets,
        }

    def _checker(self, request: web.Request) -> Checker:
        try:
            return self._gateway.now.checkers[request.match_info["upstream"]]
        except KeyError:
            raise web.HTTPNotFound from None

    async def node_status(self, _request: web.Request) -> web.Response:
        """The hash of the configuration."""
        return answer(200, {"configuration_hash": self._gateway.now.config.hash})

    async def ready(self, _request: web.Request) -> web.Response:
        """It never serves without a configuration."""
        return answer(200, {"message": "ready"})

    async def metrics(self, _request: web.Request) -> web.Response:
        """The prometheus plugin's page."""
        gateway = self._gateway
        page = gateway.metrics.page(gateway.now.checkers.values(), gateway.under_way)
        return web.Response(text=page, headers={"Server": SERVER})

    async def health(self, request: web.Request) -> web.Response:
        """The targets and their health."""
        checker = self._checker(request)
        states = {address.target.name: checker.state(address) for address in checker.wheel.addresses}
        return answer(200, {"data": [{**one, "health": states[one["target"]]} for one in listed(checker)]})

    async def targets(self, request: web.Request) -> web.Response:
        """The targets as configured."""
        return answer(200, {"data": listed(self._checker(request))})


def application(paths: dict[str, Handler]) -> web.Application:
    """Return an application that answers these paths."""
    app = web.Application(middlewares=[not_found])
    app.add_routes([web.get(path, handler) for path, handler in paths.items()])
    return app


def listed(checker: Checker) -> list[dict[str, Any]]:
    """Return an upstream's targets as the API shows them."""
    return [
        {"target": one.name, "weight": one.weight, "tags": list(one.tags) or None}
        for one in checker.upstream.targets
    ]


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
        LOG.warning("STAND-IN for Kong %s, configuration %s", VERSION, self.gateway.now.config.hash)
        pid_file(self._settings).parent.mkdir(parents=True, exist_ok=True)
        pid_file(self._settings).write_text(f"{os.getpid()}\n")
        await self.end(graceful=await graceful)

    async def start(self) -> None:
        """Open the listeners (proxy, admin, status) and begin to probe."""
        api = Api(self.gateway)
        # A client that hangs up ends its request, upstream too. Bodies are passed on as they are.
        proxy = web.Server(
            self.gateway.handle, handler_cancellation=True, access_log=None, auto_decompress=False
        )
        self.runners = [
            web.ServerRunner(proxy),
            web.AppRunner(application(api.admin_paths), access_log=None),
            web.AppRunner(application(api.status_paths), access_log=None),
        ]
        wanted = (self._settings.proxy, self._settings.admin, self._settings.status)
        for runner, where in zip(self.runners, wanted, strict=True):
            await runner.setup()
            await web.TCPSite(runner, *where, backlog=1024).start()
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
        except (InvalidError, OSError, UnicodeDecodeError) as problem:
            LOG.error("error parsing declarative config file, keeping the old one:\n%s", problem)
        else:
            LOG.warning("reloaded, configuration %s", self.gateway.now.config.hash)
