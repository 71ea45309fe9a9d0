"""The desired state of a node: what its roles render and declare, put together."""

from typing import Any

import pytest
from render import ROLES, cluster, hosts_running, renderer

from aicluster.engine.desired import compose_project, container_baseline, desired_state
from aicluster.engine.files import File
from aicluster.engine.rendering import template_sources
from aicluster.errors import SiteError


def test_every_node_of_both_inventories_has_an_image_for_each_of_its_containers():
    for inventory in ("production", "lab"):
        for node in cluster(inventory):
            desired, _ = desired_state(renderer(inventory, node["host"]), ROLES)
            assert set(desired.images) == set(desired.containers)


def test_what_a_node_must_have_comes_from_its_description():
    desired, _ = desired_state(renderer("production", hosts_running("redis")[0]), ROLES)
    assert "redis_data" in desired.volumes["redis"]
    assert desired.limits["engine"]["oldest"]["api"] == "1.44"


@pytest.mark.parametrize(("counts", "wanted"), [(True, True), ("no", False)])
def test_memory_is_wanted_where_nodes_do_not_share_a_machine(counts, wanted):
    host = hosts_running("redis")[0]
    desired, _ = desired_state(renderer("production", host, {"stack_memory_budget": counts}), ROLES)
    assert (desired.limits["memory_mb"] is not None) is wanted


# --- containers ---

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
    "modes": {"day": ["nginx", "other"], "night": ["other"]},
}


def test_a_container_starts_from_the_hardened_baseline():
    baseline = container_baseline("nginx", ENTRY, NODE, "")
    assert baseline["cap_drop"] == ["ALL"]
    assert baseline["read_only"] is True
    assert baseline["mem_limit"] == baseline["memswap_limit"] == "128m"
    assert baseline["healthcheck"]["interval"] == "10s"
    assert baseline["ports"] == ["10.0.0.1:80:8080", "127.0.0.1:8001:8001"], "for those who may reach them"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(5, "5s"), (0, None)], ids=["engine 25 or newer", "an older engine"]
)
def test_a_starting_container_is_checked_more_often_where_the_engine_can(seconds, expected):
    baseline = container_baseline("nginx", ENTRY, {**NODE, "health_start_interval_s": seconds}, "")
    assert baseline["healthcheck"].get("start_interval") == expected


def test_a_service_of_some_modes_starts_in_these_only():
    assert container_baseline("nginx", ENTRY, NODE, "")["profiles"] == ["day"]
    assert "profiles" not in container_baseline("third", ENTRY, NODE, "")


def test_a_mirror_goes_in_front_of_the_image_name():
    assert container_baseline("nginx", ENTRY, NODE, "mirror:5000")["image"] == "mirror:5000/nginx:1.30.4"


# --- files of a role ---


def test_what_an_editor_leaves_in_a_template_folder_is_not_delivered(tmp_path):
    for name in ("kong.yml.j2", "kong.yml.j2~", "kong.yml.j2.orig", ".kong.yml.j2.swp", "kong.pyc"):
        (tmp_path / name).touch()
    assert template_sources(tmp_path) == [tmp_path / "kong.yml.j2"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        pytest.param([], r"service kong: no template renders .*roles/kong/templates", id="none"),
        pytest.param(
            [File("/opt/aicluster/kong/compose.yaml", b"services: [", "kong")],
            r"service kong: .*is not a compose file",
            id="one that is not YAML",
        ),
    ],
)
def test_a_compose_file_that_cannot_be_read_is_refused_by_name(files, message):
    with pytest.raises(SiteError, match=message):
        compose_project(files, "kong")
