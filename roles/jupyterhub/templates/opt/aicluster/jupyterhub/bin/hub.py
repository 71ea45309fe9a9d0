"""JupyterHub with notebooks as processes of this container, each user's under a user id of his own."""

import json
import os
import resource
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_users
from jupyterhub.app import JupyterHub
from jupyterhub.auth import Authenticator
from jupyterhub.spawner import SimpleLocalProcessSpawner
from traitlets.config import Config

SETTINGS, SECRETS = Path("/etc/aicluster/settings.json"), Path("/run/secrets/jupyterhub")
HOMES = Path("/home")
# Cookie secret and database.
STATE = "/srv/jupyterhub"
START_NOTEBOOK = "/opt/aicluster/bin/start_notebook.py"
# Services of the hub: one stops idle notebooks, one reads metrics, one logs out users.
CULLER, METRICS, PROVISION = "idle-culler", "metrics", "provision"
CULL_EVERY_S = 60
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


class KeyAuthenticator(Authenticator):
    """Lets in the users of the gateway, each with a key of his own."""

    async def authenticate(self, _handler: Any, data: dict[str, str]) -> dict[str, Any] | None:
        """Return the user, or None for a name or key that is not valid."""
        name = self.normalize_username(data["username"])
        user = hub_users.users_now().get(name)
        return (
            {"name": name, "admin": user["admin"]}
            if user and hub_users.opens(user, data["password"])
            else None
        )

    def validate_username(self, name: str) -> bool:
        """Tell whether this is a user; who is none leaves the database when the hub starts."""
        return name in hub_users.users_now()


class NotebookSpawner(SimpleLocalProcessSpawner):
    """Starts a notebook server as a user of its own, with limits.

    JupyterHub's own class keeps no users apart: there every notebook may read what the hub may.
    """

    def make_preexec_fn(self, name: str) -> Callable[[], None]:
        """Return what the new process does before it becomes a notebook server."""
        home, uid = home_of(name)
        limit = self.mem_limit

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
        return {
            **env,
            "HOME": home,
            "USER": self.user.name,
            "LOGNAME": self.user.name,
            "SHELL": "/bin/bash",
            "JUPYTER_RUNTIME_DIR": f"{home}/.local/share/jupyter/runtime",
            # Each arena of the C library reserves memory of its own.
            "MALLOC_ARENA_MAX": "2",
        }


def configuration(
    settings: dict[str, Any], metrics_token: str, provision_token: str
) -> dict[str, dict[str, Any]]:
    """Return class -> settings."""
    idle = [f"--timeout={settings['idle_timeout_s']}", f"--cull-every={CULL_EVERY_S}"]
    culler = [sys.executable, "-m", "jupyterhub_idle_culler", *idle]
    return {
        "JupyterHub": {
            "bind_url": f"http://:{settings['port']}{settings['base_url']}",
            "cookie_secret_file": f"{STATE}/jupyterhub_cookie_secret",
            "db_url": f"sqlite:///{STATE}/jupyterhub.sqlite",
            "upgrade_db": True,
            "authenticator_class": KeyAuthenticator,
            "template_vars": {"announcement_login": "The password is your key of the gateway."},
            "spawner_class": NotebookSpawner,
            "active_server_limit": settings["active_servers"],
            "concurrent_spawn_limit": 1,
            "services": [
                {"name": CULLER, "command": culler},
                {"name": METRICS, "api_token": metrics_token},
                {"name": PROVISION, "api_token": provision_token},
            ],
            "load_roles": [
                {
                    "name": CULLER,
                    "services": [CULLER],
                    "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
                },
                {"name": METRICS, "services": [METRICS], "scopes": ["read:metrics"]},
                {"name": PROVISION, "services": [PROVISION], "scopes": ["list:users", "delete:users"]},
            ],
        },
        # The proxy dies with the hub; the number of its process means nothing to the next one.
        "ConfigurableHTTPProxy": {"pid_file": "/tmp/proxy.pid"},
        "KeyAuthenticator": {"allow_all": True, "delete_invalid_users": True, "enable_auth_state": False},
        "NotebookSpawner": {
            "cmd": [sys.executable, START_NOTEBOOK],
            "default_url": "/lab",
            # What a notebook installs comes from where the hub's own packages come from.
            "env_keep": ["PATH", "LANG", "PIP_INDEX_URL"],
            # A login shell would forget the PATH of the user's environment.
            "args": ["--ServerApp.terminado_settings={'shell_command': ['/bin/bash']}"],
            "start_timeout": 120,
            "http_timeout": 120,
            # For the data of each process.
            "mem_limit": f"{settings['notebook_memory_mb']}M",
        },
    }


def main() -> None:
    """Run the hub until told to stop."""
    # Tokens and names are in its database, beside which notebooks run.
    os.umask(0o077)
    Path(STATE).chmod(0o700)
    settings = json.loads(SETTINGS.read_text())
    metrics_token = (SECRETS / "metrics_token").read_text().strip()
    provision_token = secrets.token_hex()
    (Path(STATE) / "provision_token").write_text(provision_token)
    JupyterHub.instance(config=Config(configuration(settings, metrics_token, provision_token)))
    JupyterHub.launch_instance([])


if __name__ == "__main__":
    main()
