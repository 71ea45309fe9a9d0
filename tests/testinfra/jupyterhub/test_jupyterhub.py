"""A notebook's user cannot read what the hub may, and can install what he needs."""

import pytest
import site_under_test as site

# As the spawner does: another user, no group, no capability.
AS_A_USER = "import os; os.setgroups([]); os.setgid(200999); os.setuid(200999); open({path!r}).read()"
CONNECT = "import socket; socket.create_connection(({host!r}, {port}), timeout=5)"


@pytest.mark.parametrize("path", [
    "/run/secrets/jupyterhub/password",
    "/run/secrets/jupyterhub/users.json",
    "/srv/jupyterhub/provision_token",
    "/srv/jupyterhub/known_users.json",
    "/run/secrets/jupyterhub/metrics_token",
    "/srv/jupyterhub/jupyterhub.sqlite",
    "/srv/jupyterhub/jupyterhub_cookie_secret",
    "/proc/1/environ",
])  # fmt: skip
def test_what_the_hub_knows_is_closed_to_notebooks(inside, path):
    assert inside("jupyterhub", "test", "-e", path).rc == 0
    assert "PermissionError" in inside("jupyterhub", "python3", "-c", AS_A_USER.format(path=path)).stderr


def test_a_notebook_reaches_no_container_beside_it(host, inside):
    """Ollama has no login; on the network of the other containers it answers whoever asks."""
    shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    address = host.check_output(f"docker inspect --format '{shape}' $({site.COMPOSE} ps --quiet ollama)")
    for there in ("ollama", address.strip()):
        asked = inside("jupyterhub", "python3", "-c", CONNECT.format(host=there, port=11434))
        assert "gaierror" in asked.stderr or "TimeoutError" in asked.stderr


# As the hub starts a user's server, but with a kernel alone. The wheel is as large as a numeric library's.
NOTEBOOK = """
import os, sys, zipfile
sys.path.insert(0, "/opt/aicluster/bin")
import hub, start_notebook
from jupyter_client.manager import start_new_kernel

home, _ = hub.home_of("ada")
hub.NotebookSpawner(mem_limit="512M").make_preexec_fn("ada")()
os.environ.update(start_notebook.settings(home, dict(os.environ, HOME=str(home))))
with zipfile.ZipFile(home / "heavy-1.0-py3-none-any.whl", "w") as wheel:
    about = "heavy-1.0.dist-info"
    wheel.writestr("heavy.py", "weight = 100")
    wheel.writestr("heavy.bin", os.urandom(100 * 2**20))
    wheel.writestr(about + "/METADATA", "Metadata-Version: 2.1\\nName: heavy\\nVersion: 1.0\\n")
    wheel.writestr(about + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
    wheel.writestr(about + "/RECORD", "")
manager, client = start_new_kernel(kernel_name="python3")
client.execute_interactive(CELL, timeout=120)
manager.shutdown_kernel()
"""


def test_a_notebook_installs_a_large_package_and_has_it_after_a_restart(host, inside):
    def run(cell: str) -> str:
        asked = inside("jupyterhub", "python3", "-c", f"CELL = {cell!r}{NOTEBOOK}")
        assert asked.rc == 0, asked.stderr
        return str(asked.stdout)

    try:
        installed = run("%pip install --no-index ~/heavy-1.0-py3-none-any.whl")
        assert "Successfully installed heavy-1.0" in installed
        assert "it weighs 100" in run("import heavy; print('it weighs', heavy.weight)")
    finally:
        owner = inside("jupyterhub", "stat", "--format", "%u", "/home/ada").stdout.strip()
        as_the_owner = f"{site.COMPOSE} exec -T --user {owner} --workdir / jupyterhub"
        host.check_output(f"{as_the_owner} find /home/ada -mindepth 1 -delete")
        assert inside("jupyterhub", "rmdir", "/home/ada").rc == 0
