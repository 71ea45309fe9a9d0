"""`postgrest FILE` serves, `postgrest --ready FILE` asks the one that does."""

import asyncio
import signal
import sys
import urllib.request
from pathlib import Path

from aiohttp import web

from .config import Settings, settings_of
from .database import AuthenticationError, Database, LostError
from .server import admin, api

TIMEOUT_S = 5


def ask_ready(settings: Settings) -> None:
    """Ask /ready. Raises SystemExit with the reason when it is not."""
    url = f"http://{settings['server-host']}:{settings['admin-server-port']}/ready"
    try:
        urllib.request.urlopen(url, timeout=TIMEOUT_S).close()
    except OSError as problem:
        sys.exit(f"ERROR: {url}: {problem}")
    print(f"OK: {url}")


async def serve(settings: Settings) -> None:
    """Serve until told to stop. Raises AuthenticationError when the database does not take the password."""
    database = Database(settings)
    for app, name in (
        (api(database, settings["jwt-secret"]), "server-port"),
        (admin(database), "admin-server-port"),
    ):
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, settings["server-host"], settings[name]).start()
    print(f"STAND-IN for PostgREST listening on {settings['server-port']}", flush=True)
    try:
        await (await database.connect()).close()
    except AuthenticationError:
        raise
    except LostError as problem:
        print(f"database: {problem}", flush=True)
    # As the first process of a container it is told nothing unless it listens.
    stopped = asyncio.Event()
    for told in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(told, stopped.set)
    await stopped.wait()


def main() -> None:
    """Do what the command line says."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--ready"]
    try:
        settings = settings_of(Path(*arguments).read_text())
    except (OSError, ValueError) as problem:
        sys.exit(f"Error in config {problem}")
    if "--ready" in sys.argv:
        ask_ready(settings)
        return
    try:
        asyncio.run(serve(settings))
    except AuthenticationError as problem:
        sys.exit(f"Fatal error encountered. Authentication error {problem}")


if __name__ == "__main__":
    main()
