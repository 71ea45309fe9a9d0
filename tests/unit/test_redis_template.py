"""What Redis is told: counters beside the gateway, a cache on the back end."""

import json
from typing import Any

import pytest
import render

CONF = "/opt/aicluster/redis/secrets/redis.conf"
NODES = [
    (inventory, host)
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("redis", inventory)
]
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def conf(**where: Any) -> dict[str, str]:
    return settings(render.render_role("redis", **where)[CONF])


@every_node
def test_redis_asks_for_the_password(inventory, host):
    found = conf(inventory=inventory, host=host)
    assert json.loads(found["requirepass"]) == render.made_up_secrets()["redis_password"]


@pytest.mark.parametrize("password", ['a"b', "a b", "a\\b", "a#b"])
def test_a_password_may_hold_signs(password):
    secrets = {**render.made_up_secrets(), "redis_password": password}
    found = conf(overrides={"site_secrets": secrets})
    # Redis reads double quotes as C does: the same escapes as JSON's for these.
    assert json.loads(found["requirepass"]) == password


def test_the_gateways_redis_is_reached_by_containers_only():
    assert "ports" not in render.compose_of("redis", host="192.168.1.147")["services"]["redis"]


def test_the_back_ends_redis_is_reached_at_its_address():
    redis = render.compose_of("redis", host="192.168.1.247")["services"]["redis"]
    assert redis["ports"] == ["192.168.1.247:6379:6379"]


@pytest.mark.parametrize(
    ("memory_mb", "expected"),
    [
        pytest.param(256, "153mb", id="sixty percent of the container"),
        pytest.param(1024, "614mb", id="a bigger container holds more"),
    ],
)
def test_data_leaves_room_for_clients_and_saving(memory_mb, expected):
    assert conf(entry={"memory_mb": memory_mb})["maxmemory"] == expected


@every_node
def test_a_full_redis_forgets_instead_of_refusing(inventory, host):
    assert conf(inventory=inventory, host=host)["maxmemory-policy"] == "allkeys-lru"


@pytest.mark.parametrize(("wanted", "line"), [(True, "yes"), (False, "no")])
def test_writes_survive_a_restart_if_wanted(wanted, line):
    found = conf(overrides={"redis_appendonly": wanted})
    assert found["appendonly"] == line
    assert found["save"] == '""'
    assert found["dir"] == "/data"


@every_node
def test_the_health_check_keeps_the_password_to_itself(inventory, host):
    files = render.render_role("redis", inventory=inventory, host=host)
    redis = render.compose_of("redis", inventory=inventory, host=host)["services"]["redis"]
    assert redis["healthcheck"]["test"] == ["CMD", "/opt/aicluster/bin/redis-ping"]
    assert "/opt/aicluster/redis/bin:/opt/aicluster/bin:ro" in redis["volumes"]
    assert "environment" not in redis
    assert "cat /run/secrets/redis/password" in files["/opt/aicluster/redis/bin/redis-ping"]


def test_the_health_check_can_be_run():
    [script] = [file for file in render.files_of("redis") if file.path.endswith("/bin/redis-ping")]
    assert script.mode == "0755"


@every_node
def test_redis_needs_no_capability(inventory, host):
    redis = render.compose_of("redis", inventory=inventory, host=host)["services"]["redis"]
    assert redis["user"] == "999:999"
    assert redis["cap_drop"] == ["ALL"]
    assert redis["read_only"] is True
    assert "cap_add" not in redis


def test_data_lives_in_a_named_volume():
    compose = render.compose_of("redis")
    assert "redis_data:/data" in compose["services"]["redis"]["volumes"]
    assert list(compose["volumes"]) == ["redis_data"]
