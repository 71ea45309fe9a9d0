"""The command line: `server`, and the one command of `cli` that provisioning needs."""

import importlib
import os
import sys

from .provisioning import ProvisioningError
from .settings import Settings, settings_of
from .store import Store

RESET = ["admin", "reset-admin-password", "--password-from-stdin"]
USAGE = "usage: grafana server | cli --homepath X --config X admin reset-admin-password --password-from-stdin"


def reset_password(settings: Settings) -> None:
    """Give the administrator the password of standard input, whether the server runs or not."""
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise ValueError("failed to set the admin password: it is empty")
    Store(settings.data).write(password)
    print("Admin password changed successfully ✔")


def main(arguments: list[str]) -> None:
    """Run one command; variables say where things are."""
    try:
        match arguments:
            case ["server"]:
                # Only then it is loaded.
                importlib.import_module("grafana_standin.server").serve(settings_of(os.environ))
            case ["cli", "--homepath", _, "--config", _, *words] if words == RESET:
                reset_password(settings_of(os.environ))
            case _:
                sys.exit(USAGE)
    except (ValueError, OSError, ProvisioningError) as error:
        sys.exit(f"Error: ✗ {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
