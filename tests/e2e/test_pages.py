"""Pages behind nginx: those of a node, and at the gateway those of other nodes, for administrators."""

import subprocess
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import site_under_test as site
from http_client import get
from tables import cases

[NODE, *_] = [node for node in site.running("nginx") if {"comfyui", "jupyterhub"} <= set(node.services)]
[GATEWAY, *_] = [node for node in site.running("kong") if "nginx" in node.services]
NGINX, AT_THE_GATEWAY = (f"http://{node.address}:{node.port('nginx', 'http')}" for node in (NODE, GATEWAY))
ADMIN, USER = "e2e-admin:key-of-e2e-admin", "e2e-user:key-of-e2e-user"


@pytest.fixture(scope="module", autouse=True)
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An administrator and a user, as long as this module runs."""
    keys = dict(login.split(":") for login in (ADMIN, USER))
    listed = [{"name": name, "role": name.removeprefix("e2e-")} for name in keys]
    layer = site.users_layer(tmp_path_factory.mktemp("users"), keys, *listed)
    limit = ("--limit", f"{NODE.address},{GATEWAY.address}")
    try:
        site.run_site(*layer, *limit).succeeded()
        yield
    finally:
        back = site.run_site(*limit)
    back.succeeded()


PROMETHEUS, COMFYUI = f"{AT_THE_GATEWAY}/prometheus/api/v1/query?query=up", f"{NGINX}/comfyui/api/queue"


# The lab's VictoriaLogs has no web page, see roles/victorialogs/README.md.
@cases(("url", "said"), {
    "Prometheus": (PROMETHEUS, '"status":"success"'),
    "Alertmanager": (f"{AT_THE_GATEWAY}/alerts/api/v2/status", '"versionInfo"'),
    "the log store": (f"{AT_THE_GATEWAY}/logs/select/logsql/query?query=_time:1h&limit=1", '"_time"'),
    "the page of Redis": (f"{AT_THE_GATEWAY}/redis/", "<title>Redis Commander"),
    "what that page asks for": (f"{AT_THE_GATEWAY}/redis/connections", '"connections"'),
    "ComfyUI, or the profile to switch to": (
        COMFYUI, "make profile TO=image" if "comfyui" in NODE.inactive else '"queue_running"'),
})  # fmt: skip
def test_a_page_without_a_login_opens_with_the_key_of_an_administrator_alone(url, said):
    for login in (None, USER, f"{ADMIN}-wrong"):
        assert get(url, login=login).status == 401, login
    assert said in get(url, login=ADMIN).body.decode()


def test_prometheus_redirects_below_its_path():
    command = ["curl", "--silent", "--noproxy", "*", "--user", ADMIN, f"{AT_THE_GATEWAY}/prometheus/"]
    options = ["--output", "/dev/null", "--write-out", "%{redirect_url}"]
    led = subprocess.run([*command, *options], capture_output=True, text=True, check=True).stdout
    assert urlsplit(led).path.startswith("/prometheus/"), led
