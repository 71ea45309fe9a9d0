"""First process of a user's notebook server: give him an environment to install into, then become the server.

The hub's packages are for reading only. `~/.python3.12` (the version of this Python) is an environment of
the user's own: what he installs is put there, wins over the hub's, and stays. Kernels and terminals run in
it. The server itself does not, so that no installed package can keep it from starting.
"""

import json
import os
import shutil
import site
import sys
import venv
from pathlib import Path

PIP = """#!/bin/sh
exec {python} -m pip "$@"
"""


def environment_of(home: Path) -> Path:
    """Return the folder of a user's environment; another Python is another folder."""
    return home / f".python{sys.version_info.major}.{sys.version_info.minor}"


def make(environment: Path, shared: list[str]) -> Path:
    """Make or mend an environment that also sees the folders `shared`; return its Python.

    What is installed in it is kept. The rest is written at every start: the hub's move with the lock.
    """
    python = environment / "bin/python"
    if not os.access(python, os.X_OK) or not [*environment.glob("lib/python*/site-packages")]:
        # The Python it was made of is gone, or a part of it.
        shutil.rmtree(environment / "bin", ignore_errors=True)
        venv.EnvBuilder(symlinks=True).create(environment)
    [packages] = environment.glob("lib/python*/site-packages")
    (packages / "hub.pth").write_text("".join(f"{folder}\n" for folder in shared))
    pip = environment / "bin/pip"
    pip.write_text(PIP.format(python=python))
    pip.chmod(0o755)
    kernel = {
        "argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": f"Python {sys.version_info.major}.{sys.version_info.minor}",
        "language": "python",
        "metadata": {"debugger": True},
    }
    spec = environment / "share/jupyter/kernels/python3"
    spec.mkdir(parents=True, exist_ok=True)
    (spec / "kernel.json").write_text(json.dumps(kernel))
    return python


def settings(home: Path, inherited: dict[str, str]) -> dict[str, str]:
    """Prepare a home and return the environment variables of a server in it."""
    python = make(environment_of(home), site.getsitepackages())
    environment = python.parents[1]
    # /tmp is memory, and little of it.
    scratch = home / ".tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(exist_ok=True)
    return {
        **inherited,
        "PATH": f"{python.parent}{os.pathsep}{inherited['PATH']}",
        "VIRTUAL_ENV": str(environment),
        "JUPYTER_PATH": str(environment / "share/jupyter"),
        "TMPDIR": str(scratch),
    }


def main() -> None:
    """Become the notebook server."""
    server = Path(sys.executable).parent / "jupyterhub-singleuser"
    os.execve(server, [str(server), *sys.argv[1:]], settings(Path.home(), dict(os.environ)))


if __name__ == "__main__":
    main()
