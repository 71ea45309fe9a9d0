"""The command `kong`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from . import VERSION
from .config import load
from .fields import InvalidError
from .server import serve
from .settings import Settings, settings_of

USAGE = "Usage: kong docker-start | config parse FILE | reload | quit | stop | health | version"


def settings() -> Settings:
    """Return the settings. Raises SystemExit."""
    try:
        return settings_of(os.environ)
    except (ValueError, OSError) as problem:
        sys.exit(f"Error: {problem}")


def config_parse(path: str) -> None:
    """Check a file."""
    try:
        load(Path(path), settings().plugins)
    except (InvalidError, OSError, UnicodeDecodeError) as problem:
        sys.exit(f"Error: Failed parsing:\n{problem}")
    print("parse successful")


def start() -> None:
    """Serve until told to stop."""
    serve(settings())


def running() -> int | None:
    """Return the process number of the running gateway."""
    path = settings().prefix / "pids" / "nginx.pid"
    try:
        pid = int(path.read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def tell(number: signal.Signals, said: str) -> None:
    """Send a signal to the running gateway. As with Kong, the answer says nothing about its success."""
    pid = running()
    if pid is None:
        sys.exit(f"Error: nginx not running in prefix: {settings().prefix}")
    os.kill(pid, number)
    print(said)


def health() -> None:
    """Say whether the process is there."""
    if running() is None:
        sys.exit("Error: Kong is not running")
    print(f"nginx.......running\n\nKong is healthy at {settings().prefix}")


def main(arguments: list[str]) -> None:
    """Run one command."""
    match arguments:
        case ["docker-start" | "start"]:
            start()
        case ["config", "parse", path]:
            config_parse(path)
        case ["reload"]:
            tell(signal.SIGHUP, "Kong reloaded")
        case ["quit"]:
            tell(signal.SIGQUIT, "Kong stopped (gracefully)")
        case ["stop"]:
            tell(signal.SIGTERM, "Kong stopped")
        case ["health"]:
            health()
        case ["version"]:
            print(f"{VERSION} (stand-in)")
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
