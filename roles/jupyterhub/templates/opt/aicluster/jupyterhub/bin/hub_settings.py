"""The hub's settings as data; hub.py gives them to JupyterHub."""

from typing import Any

# Services of the hub: one stops idle notebooks, one reads metrics.
CULLER, METRICS = "idle-culler", "metrics"
# A name the node's own verify logs in and starts a notebook with.
VERIFIER = "aicluster-verify"
STATE = "/srv/jupyterhub"
CULL_EVERY_S = 60


def configuration(
    settings: dict[str, Any], password: str, metrics_token: str, python: str
) -> dict[str, dict[str, Any]]:
    """Return class -> settings; `python` is the program that has all packages."""
    idle = settings["idle_timeout_s"]
    culler = [python, "-m", "jupyterhub_idle_culler", f"--timeout={idle}", f"--cull-every={CULL_EVERY_S}"]
    users = settings["users"]
    return {
        "JupyterHub": {
            "bind_url": f"http://:{settings['port']}{settings['base_url']}",
            "cookie_secret_file": f"{STATE}/jupyterhub_cookie_secret",
            "db_url": f"sqlite:///{STATE}/jupyterhub.sqlite",
            "upgrade_db": True,
            "authenticator_class": "shared-password",
            "active_server_limit": settings["active_servers"],
            "concurrent_spawn_limit": 1,
            "services": [{"name": CULLER, "command": culler}, {"name": METRICS, "api_token": metrics_token}],
            "load_roles": [
                {
                    "name": CULLER,
                    "services": [CULLER],
                    "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
                },
                {"name": METRICS, "services": [METRICS], "scopes": ["read:metrics"]},
            ],
        },
        # The proxy dies with the hub; the number of its process means nothing to the next one.
        "ConfigurableHTTPProxy": {"pid_file": "/tmp/proxy.pid"},
        "SharedPasswordAuthenticator": {"user_password": password},
        "Authenticator": {
            "allow_all": not users,
            "allowed_users": {*users, VERIFIER} if users else set(),
            # The name becomes the name of a folder.
            "username_pattern": r"^[a-z][a-z0-9_-]{0,31}$",
            "enable_auth_state": False,
        },
        "Spawner": {
            "default_url": "/lab",
            # What a notebook installs comes from where the hub's own packages come from.
            "env_keep": ["PATH", "LANG", "PIP_INDEX_URL"],
            # A login shell would forget the PATH of the user's environment.
            "args": ["--ServerApp.terminado_settings={'shell_command': ['/bin/bash']}"],
            "start_timeout": 120,
            "http_timeout": 120,
            "mem_limit": f"{settings['notebook_memory_mb']}M",
        },
    }
