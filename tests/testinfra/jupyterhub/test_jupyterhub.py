"""A notebook's user cannot read what the hub may."""

import pytest

# As the spawner does: another user, no group, no capability.
AS_A_USER = "import os; os.setgroups([]); os.setgid(200999); os.setuid(200999); open({path!r}).read()"
CONNECT = "import socket; socket.create_connection(({host!r}, {port}), timeout=5)"


@pytest.mark.parametrize(
    "path",
    [
        "/run/secrets/jupyterhub/password",
        "/run/secrets/jupyterhub/metrics_token",
        "/srv/jupyterhub/jupyterhub.sqlite",
        "/srv/jupyterhub/jupyterhub_cookie_secret",
        "/proc/1/environ",
    ],
)
def test_what_the_hub_knows_is_closed_to_notebooks(host, path):
    container = host.check_output("docker ps --quiet --filter label=aicluster.service=jupyterhub").split()[0]
    assert host.run("docker exec %s test -e %s", container, path).rc == 0
    refused = host.run("docker exec %s python3 -c %s", container, AS_A_USER.format(path=path))
    assert "PermissionError" in refused.stderr


def test_a_notebook_reaches_no_container_beside_it(host):
    """Ollama has no login; on the network of the other containers it answers whoever asks."""
    hub, ollama = (
        host.check_output(f"docker ps --quiet --filter label=aicluster.service={service}").split()[0]
        for service in ("jupyterhub", "ollama")
    )
    shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    for there in ("ollama", host.check_output("docker inspect --format %s %s", shape, ollama).strip()):
        asked = host.run("docker exec %s python3 -c %s", hub, CONNECT.format(host=there, port=11434))
        assert "gaierror" in asked.stderr or "TimeoutError" in asked.stderr
