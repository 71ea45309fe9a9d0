"""The desired state of a node: what its roles render and declare, put together."""

from typing import Any

import pytest

from aicluster.engine.desired import compose_project, container_baseline
from aicluster.engine.files import File
from aicluster.engine.rendering import template_sources
from aicluster.errors import SiteError

ENTRY: dict[str, Any] = {
    "image": "nginx:1.30.4",
    "memory_mb": 128,
    "ports": {
        "http": {"port": 80, "container": 8080, "from": ["lan"]},
        "admin": {"port": 8001, "from": ["localhost"]},
        "inner": {"port": 9000, "from": []},
    },
    "health": {"test": ["CMD", "true"], "interval_s": 10, "timeout_s": 3, "retries": 3, "start_s": 5},
}
NODE: dict[str, Any] = {
    "address": "10.0.0.1",
    "health_start_interval_s": 5,
    "profiles": {"day": ["nginx", "other"], "night": ["other"]},
}


OLD = {**NODE, "health_start_interval_s": 0}
HEALTH = {"test": ["CMD", "true"], "interval": "10s", "timeout": "3s", "retries": 3, "start_period": "5s"}
REACHED = ["10.0.0.1:80:8080", "127.0.0.1:8001:8001"]


@pytest.mark.parametrize(("service", "node", "key", "value"), [
    pytest.param("nginx", NODE, "ports", REACHED, id="ports for those who may reach them"),
    pytest.param("nginx", NODE, "healthcheck", {**HEALTH, "start_interval": "5s"}, id="its health check"),
    pytest.param("nginx", OLD, "healthcheck", HEALTH, id="one that an older engine understands"),
    pytest.param("nginx", NODE, "profiles", ["day"], id="the profiles it starts in"),
    pytest.param("third", NODE, "profiles", None, id="none where it starts in all"),
    pytest.param("nginx", NODE, "image", "mirror:5000/nginx:1.30.4", id="its image from a mirror"),
])  # fmt: skip
def test_a_container_has(service, node, key, value):
    assert container_baseline(service, ENTRY, node, "mirror:5000").get(key) == value


def test_what_an_editor_leaves_in_a_template_folder_is_not_delivered(tmp_path):
    for name in ("kong.yml.j2", "kong.yml.j2~", "kong.yml.j2.orig", ".kong.yml.j2.swp", "kong.pyc"):
        (tmp_path / name).touch()
    assert template_sources(tmp_path) == [tmp_path / "kong.yml.j2"]


@pytest.mark.parametrize(("files", "message"), [
    pytest.param([], r"service kong: no template renders .*roles/kong/templates", id="none"),
    pytest.param([File("/opt/aicluster/kong/compose.yaml", b"services: [", "kong")],
        r"service kong: .*is not a compose file", id="one that is not YAML"),
])  # fmt: skip
def test_a_compose_file_that_cannot_be_read_is_refused_by_name(files, message):
    with pytest.raises(SiteError, match=message):
        compose_project(files, "kong")
