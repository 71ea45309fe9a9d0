"""The command line: `server`, and the one command of `cli` that provisioning needs."""

import os
import sqlite3
import sys

import yaml

from .server import serve
from .settings import settings_of
from .store import Store

RESET = ["admin", "reset-admin-password", "--password-from-stdin"]
USAGE = "usage: grafana server | cli --homepath X --config X admin reset-admin-password --password-from-stdin"


def main(arguments: list[str]) -> None:
    """Run one command; variables say where things are."""
    try:
        settings = settings_of(os.environ)
        match arguments:
            case ["server"]:
                serve(settings)
            case ["cli", "--homepath", _, "--config", _, *words] if words == RESET:
                Store(settings.data).write(sys.stdin.readline().rstrip("\n"))
                print("Admin password changed successfully ✔")
            case _:
                sys.exit(USAGE)
    except (ValueError, KeyError, OSError, sqlite3.Error, yaml.YAMLError) as error:
        sys.exit(f"Error: ✗ {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
