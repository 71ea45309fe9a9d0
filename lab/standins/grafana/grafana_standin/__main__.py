"""The command line: `server`, and the one command of `cli` that provisioning needs."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable

from . import VERSION
from .provisioning import ProvisioningError
from .settings import settings_of
from .store import Store

USAGE = (
    "usage: grafana server | cli [--homepath X] [--config X] admin reset-admin-password --password-from-stdin"
)
RESET = ("admin", "reset-admin-password", "--password-from-stdin")


def reset_password() -> None:
    """Give the administrator the password of standard input, whether the server runs or not."""
    settings = settings_of(os.environ)
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        sys.exit("Error: ✗ failed to set the admin password: it is empty")
    Store(settings.data).write(settings.admin_user, password)
    print("Admin password changed successfully ✔")


def serve() -> None:
    """Run the server; only then is it loaded."""
    settings = settings_of(os.environ)
    if not os.access(settings.data, os.W_OK):
        print(f"GF_PATHS_DATA='{settings.data}' is not writable.", file=sys.stderr)
    importlib.import_module("grafana_standin.server").serve(settings)


def without_paths(arguments: list[str]) -> list[str]:
    """Return the arguments without `--homepath X` and `--config X`: here variables say where things are."""
    words = iter(arguments)
    return [word for word in words if not (word in ("--homepath", "--config") and next(words, ""))]


def main(arguments: list[str]) -> None:
    """Run one command."""
    commands: dict[tuple[str, ...], Callable[[], None]] = {
        ("server",): serve,
        ("cli", *RESET): reset_password,
        ("--version",): lambda: print(f"grafana version {VERSION} (stand-in)"),
    }
    command = commands.get(tuple(without_paths(arguments)))
    if command is None:
        sys.exit(USAGE)
    try:
        command()
    except (ValueError, OSError, ProvisioningError) as error:
        sys.exit(f"Error: ✗ {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
