"""The command `kong`."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from .config import load
from .fields import InvalidError
from .server import Server, pid_file
from .settings import Settings, settings_of

USAGE = "Usage: kong docker-start | config parse FILE | reload"


def reload(settings: Settings) -> None:
    """Tell the running gateway to read its file. As with Kong, the answer says nothing about its success."""
    path = pid_file(settings)
    try:
        os.kill(int(path.read_text()), signal.SIGHUP)
    except (OSError, ValueError):
        sys.exit(f"Error: nginx not running in prefix: {path.parents[1]}")
    print("Kong reloaded")


def main(arguments: list[str]) -> None:
    """Run one command."""
    try:
        settings = settings_of(os.environ)
        match arguments:
            case ["docker-start"]:
                config = load(settings.declarative_config, settings.plugins)
                asyncio.run(Server(settings, config).run())
            case ["config", "parse", path]:
                load(Path(path), settings.plugins)
                print("parse successful")
            case ["reload"]:
                reload(settings)
            case _:
                sys.exit(USAGE)
    except InvalidError as problem:
        sys.exit(f"Error: Failed parsing:\n{problem}")
    except (OSError, ValueError) as problem:
        sys.exit(f"Error: {problem}")


if __name__ == "__main__":
    main(sys.argv[1:])
