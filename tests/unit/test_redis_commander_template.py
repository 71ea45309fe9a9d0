"""What the role `redis_commander` puts on its node: one file of settings that holds all it knows."""

import json
from copy import deepcopy
from typing import Any

import pytest
import render

SECRET = "/opt/aicluster/redis_commander/secrets/local-production.json"
HOST, ADDRESS = "192.168.1.247", "192.168.1.247"
GATEWAY = "192.168.1.147"


def container(**where: Any) -> dict[str, Any]:
    merged: dict[str, Any] = render.compose_of("redis_commander", **{"host": HOST, **where})["services"][
        "redis_commander"
    ]
    return merged


def settings(**overrides: Any) -> dict[str, Any]:
    files = render.render_role("redis_commander", host=HOST, overrides=overrides or None)
    found: dict[str, Any] = json.loads(files[SECRET])
    return found


def reached(nodes: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    connections = settings(cluster_nodes=nodes)["connections"]
    return [(each["label"], each["host"], each["port"]) for each in connections]


def test_operators_open_it_at_the_address_of_its_node():
    assert container()["ports"] == [f"{ADDRESS}:8081:8081"]


def test_it_runs_as_the_user_of_the_image_without_a_capability_and_writes_nothing():
    page = container()
    assert (page["user"], page["cap_drop"], page["read_only"]) == ("10000:0", ["ALL"], True)
    assert all(volume.endswith(":ro") for volume in page["volumes"])
    assert settings()["noSave"] is True


def test_both_passwords_are_in_the_one_file_and_nowhere_else():
    secrets = render.made_up_secrets()
    found = render.files_of("redis_commander", host=HOST)
    for name in ("redis_password", "redis_commander_password"):
        [holder] = [file for file in found if secrets[name].encode() in file.content]
        assert (holder.path, holder.mode, holder.uid) == (SECRET, "0400", 10000)


def test_the_file_is_mounted_under_the_one_name_that_is_read():
    assert container()["volumes"] == [f"{SECRET}:/redis-commander/config/local-production.json:ro"]


@pytest.mark.parametrize("name", ["redis_password", "redis_commander_password"])
def test_a_password_may_hold_signs(name):
    shown = settings(site_secrets={**render.made_up_secrets(), name: 'a"b\\c d'})
    values = {
        "redis_password": shown["connections"][0]["password"],
        "redis_commander_password": shown["server"]["httpAuth"]["password"],
    }
    assert values[name] == 'a"b\\c d'


def test_nobody_gets_in_without_name_and_password():
    login = settings()["server"]["httpAuth"]
    assert login["username"] == "operator"
    assert login["password"] == render.made_up_secrets()["redis_commander_password"]


@pytest.mark.parametrize("value", [True, False])
def test_it_may_only_look_unless_the_site_says_otherwise(value):
    assert settings()["redis"]["readOnly"] is True
    assert settings(redis_commander_read_only=value)["redis"]["readOnly"] is value


def test_values_of_keys_do_not_get_into_the_journal():
    assert settings()["noLogData"] is True


def test_the_redis_beside_it_is_reached_by_name_and_one_that_keeps_to_itself_not_at_all():
    nodes = render.cluster("production")
    running = {node["name"] for node in nodes if "redis" in node["services"]}
    assert len(running) > 1, "there is another one, for its own node only"
    assert reached(nodes) == [("PI52", "redis", 6379)]


def test_a_redis_of_another_node_that_is_open_to_this_tier_is_reached_at_its_published_port():
    nodes = deepcopy(render.cluster("production"))
    gateway = next(node for node in nodes if node["host"] == GATEWAY)
    gateway["services"]["redis"]["ports"]["redis"] = {"port": 6380, "container": 6379, "from": ["backend"]}
    assert set(reached(nodes)) == {(gateway["name"], GATEWAY, 6380), ("PI52", "redis", 6379)}


@pytest.mark.parametrize("memory_mb", [192, 256])
def test_the_heap_ends_well_below_the_limit(memory_mb):
    options = container(entry={"memory_mb": memory_mb})["environment"]["NODE_OPTIONS"]
    assert int(options.removeprefix("--max-old-space-size=")) == memory_mb // 2
