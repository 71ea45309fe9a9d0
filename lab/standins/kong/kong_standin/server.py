"""The process: listeners, signals, and a graceful end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from aiohttp import web

from . import VERSION
from .admin import Api
from .config import Config, load
from .fields import InvalidError
from .proxy import Gateway
from .settings import Listen, Settings

LOG = logging.getLogger("kong")
LOG_FORMAT = "%(asctime)s [%(levelname)s] %(name)s: %(message)s"
LEVELS = {
    "debug": logging.DEBUG, "info": logging.INFO, "notice": 25, "warn": logging.WARNING,
    "error": logging.ERROR, "crit": logging.CRITICAL,
}  # fmt: skip


def pid_file(settings: Settings) -> Path:
    """Return where the process says its number."""
    return settings.prefix / "pids" / "nginx.pid"


def configuration(settings: Settings) -> Config:
    """Return the declarative file's content, or an empty configuration. Raises InvalidError, OSError."""
    if settings.declarative_config is None:
        return Config()
    return load(settings.declarative_config, settings.plugins)


class Server:
    """Three listeners over one gateway."""

    def __init__(self, settings: Settings, config: Config) -> None:
        """Prepare to serve `config`."""
        self._settings = settings
        self._gateway = Gateway(settings, config)
        self._runners: list[web.BaseRunner] = []
        self._stop = asyncio.Event()
        self._graceful = False

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        for number, graceful in ((signal.SIGQUIT, True), (signal.SIGTERM, False), (signal.SIGINT, False)):
            loop.add_signal_handler(number, self.stop, graceful)
        await self.start()
        pid_file(self._settings).parent.mkdir(parents=True, exist_ok=True)
        pid_file(self._settings).write_text(f"{os.getpid()}\n")
        await self._stop.wait()
        await self.end()

    async def start(self) -> None:
        """Open the listeners and begin to probe."""
        api = Api(self._gateway)
        # A client that hangs up ends its request, upstream too. Bodies are passed on as they are.
        proxy = web.Server(
            self._gateway.handle, handler_cancellation=True, access_log=None, auto_decompress=False
        )
        await self._listen(web.ServerRunner(proxy), self._settings.proxy)
        await self._listen(web.AppRunner(api.admin(), access_log=None), self._settings.admin)
        await self._listen(web.AppRunner(api.status(), access_log=None), self._settings.status)
        self._gateway.now.start()
        LOG.warning("STAND-IN for Kong %s, configuration %s", VERSION, self._gateway.now.config.hash)

    async def _listen(self, runner: web.BaseRunner, where: Listen | None) -> None:
        if where is None:
            return
        await runner.setup()
        await web.TCPSite(runner, where.host, where.port, backlog=1024).start()
        self._runners.append(runner)

    async def end(self) -> None:
        """Close everything; gracefully means that answers under way are finished first."""
        for runner in self._runners:
            for site in list(runner.sites):
                await site.stop()
        while self._graceful and self._gateway.under_way:
            await asyncio.sleep(0.05)
        self._gateway.stop()
        for runner in self._runners:
            with suppress(TimeoutError):
                await runner.cleanup()

    def stop(self, graceful: bool) -> None:
        """Begin to end."""
        self._graceful = graceful
        self._stop.set()

    def reload(self) -> None:
        """Read the file again; a bad one leaves the old configuration in place."""
        try:
            self._gateway.load(configuration(self._settings))
        except (InvalidError, OSError, UnicodeDecodeError) as problem:
            LOG.error("error parsing declarative config file, keeping the old one:\n%s", problem)
        else:
            LOG.warning("reloaded, configuration %s", self._gateway.now.config.hash)


def serve(settings: Settings) -> None:
    """Run the gateway. Raises SystemExit for a bad configuration."""
    logging.addLevelName(25, "NOTICE")
    logging.basicConfig(
        stream=sys.stderr,
        level=LEVELS[settings.log_level],
        format=LOG_FORMAT,
    )
    try:
        config = configuration(settings)
    except (InvalidError, OSError, UnicodeDecodeError) as problem:
        sys.exit(f"Error: error parsing declarative config file {settings.declarative_config}:\n{problem}")

    async def run() -> None:
        await Server(settings, config).run()

    asyncio.run(run())
