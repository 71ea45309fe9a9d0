"""The command `kong`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from .config import Config, load
from .fields import InvalidError
from .server import Server, pid_file
from .settings import Settings, settings_of

USAGE = "Usage: kong docker-start | config parse FILE | reload"


def settings() -> Settings:
    """Return the settings. Raises SystemExit."""
    try:
        return settings_of(os.environ)
    except (ValueError, OSError) as problem:
        sys.exit(f"Error: {problem}")


def config(path: Path) -> Config:
    """Return what a file declares. Raises SystemExit."""
    try:
        return load(path, settings().plugins)
    except (InvalidError, OSError, UnicodeDecodeError) as problem:
        sys.exit(f"Error: Failed parsing:\n{problem}")


def reload() -> None:
    """Tell the running gateway to read its file. As with Kong, the answer says nothing about its success."""
    path = pid_file(settings())
    try:
        os.kill(int(path.read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        sys.exit(f"Error: nginx not running in prefix: {path.parents[1]}")
    print("Kong reloaded")


def main(arguments: list[str]) -> None:
    """Run one command."""
    match arguments:
        case ["docker-start"]:
            asyncio.run(Server(settings(), config(settings().declarative_config)).run())
        case ["config", "parse", path]:
            config(Path(path))
            print("parse successful")
        case ["reload"]:
            reload()
        case _:
            sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
