"""`postgrest FILE` serves, `postgrest --ready FILE` asks the one that does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path

from aiohttp import web

from . import VERSION
from .api import AuthenticationError
from .config import Config
from .postgres import PostgresStore
from .server import Admin, Api, State

TIMEOUT_S = 5


def ask_ready(config: Config) -> str:
    """Ask /ready and return what is printed then. Raises ValueError and OSError with the reason."""
    url = config.ready_url()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return f"OK: {url}"
    except urllib.error.HTTPError as problem:
        raise ValueError(url) from problem


async def serve(config: Config) -> None:
    """Serve until told to stop. Raises AuthenticationError when the database does not take the password."""
    store = PostgresStore(config)
    state = State(store)
    for server, port in ((Api(store, state), config.port), (Admin(state), config.admin_port)):
        runner = web.AppRunner(server.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, config.host, port).start()
    print(f"STAND-IN for PostgREST {VERSION} listening on {config.port}", flush=True)
    keeping = asyncio.ensure_future(state.keep())
    # As the first process of a container it is told nothing unless it listens.
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, keeping.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


def main() -> None:
    """Do what the command line says."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--ready"]
    try:
        config = Config.of(Path(arguments[0]).read_text() if arguments else "")
    except (OSError, ValueError) as problem:
        sys.exit(f"Error in config {problem}")
    if "--ready" in sys.argv[1:]:
        try:
            print(ask_ready(config))
        except (OSError, ValueError) as problem:
            sys.exit(f"ERROR: {problem}")
        return
    try:
        asyncio.run(serve(config))
    except AuthenticationError as problem:
        sys.exit(f"Fatal error encountered. Authentication error {problem}")


if __name__ == "__main__":
    main()
