"""JupyterHub with notebooks as processes of this container, each user's under a user id of his own."""

import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from hub_settings import STATE, configuration
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets import Integer
from traitlets.config import Config

SETTINGS, SECRETS = Path("/etc/aicluster/settings.json"), Path("/run/secrets/jupyterhub")
HOMES = Path("/home")
START_NOTEBOOK = "/opt/aicluster/bin/start_notebook.py"
# Above every id of the image and of the host's people.
FIRST_UID = 200000
PROCESSES = 256
MB = 2**20


def home_of(name: str, homes: Path = HOMES) -> tuple[Path, int]:
    """Return a user's folder and the id that owns it, made if need be.

    The folders are the list of ids: whoever comes back finds his files, and nobody else gets his id.
    """
    home = homes / name
    # A base image may bring a home of its own, Ubuntu's does; its owner is somebody of the host.
    if not home.is_dir() or home.stat().st_uid < FIRST_UID:
        taken = [one.stat().st_uid for one in homes.iterdir()]
        uid = max([FIRST_UID - 1, *taken]) + 1
        home.mkdir(mode=0o700, exist_ok=True)
        os.chown(home, uid, uid)
    return home, home.stat().st_uid


class NotebookSpawner(SimpleLocalProcessSpawner):
    """Starts a notebook server as a user of its own, with limits.

    JupyterHub's own class keeps no users apart: there every notebook may read what the hub may.
    """

    memory_mb = Integer(512, config=True, help="Memory for data of each process in MB.")

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Return what the new process does before it becomes a notebook server."""
        home, uid = home_of(name)
        limit = self.memory_mb * MB

        def become_the_user() -> None:
            # The first to go when the container's memory ends, before the hub. Later it would not be allowed.
            Path("/proc/self/oom_score_adj").write_text("900")
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.umask(0o077)
            os.chdir(home)
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
            resource.setrlimit(resource.RLIMIT_NPROC, (PROCESSES, PROCESSES))
            # A thread's stack counts as data.
            resource.setrlimit(resource.RLIMIT_STACK, (MB, MB))

        return become_the_user

    def user_env(self, env: dict[str, str]) -> dict[str, str]:
        """Return the environment with what a person of this name has."""
        home = str(HOMES / self.user.name)
        # Each arena of the C library reserves memory of its own.
        own = {"HOME": home, "USER": self.user.name, "LOGNAME": self.user.name, "MALLOC_ARENA_MAX": "2"}
        return {
            **env,
            **own,
            "SHELL": "/bin/bash",
            "JUPYTER_RUNTIME_DIR": f"{home}/.local/share/jupyter/runtime",
        }


def main() -> None:
    """Run the hub until told to stop."""
    # Tokens and names are in its database, beside which notebooks run.
    os.umask(0o077)
    Path(STATE).chmod(0o700)
    settings = json.loads(SETTINGS.read_text())
    password = (SECRETS / "password").read_text().strip()
    token = (SECRETS / "metrics_token").read_text().strip()
    config = Config(configuration(settings, password, token, sys.executable))
    config.JupyterHub.spawner_class = NotebookSpawner
    config.NotebookSpawner.memory_mb = settings["notebook_memory_mb"]
    config.NotebookSpawner.cmd = [sys.executable, START_NOTEBOOK]
    JupyterHub.instance(config=config)
    JupyterHub.launch_instance([])


if __name__ == "__main__":
    main()
