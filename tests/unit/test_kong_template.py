"""What Kong is told: one declarative file and its environment. Rules from Kong 3.9."""

from copy import deepcopy
from math import gcd
from typing import Any

import pytest
import render
import yaml
from standins.kong.kong_standin.config import parse
from standins.kong.kong_standin.router import Router
from tables import cases

KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"


def parsed(**where: Any) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(render.render_role("kong", **where)[KONG_YML])
    return found


def environment() -> dict[str, str]:
    found: dict[str, str] = render.container("kong")["environment"]
    return found


def routes(config: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(service, route) for service in config["services"] for route in service["routes"]]


def plugin(route: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [plugin["config"] for plugin in route["plugins"] if plugin["name"] == name]
    return dict(found)


def cluster_with(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """The production cluster with some fields of some nodes (by name) replaced."""
    nodes = deepcopy(render.cluster("production"))
    return [{**node, **changes.get(node["name"], {})} for node in nodes]


def targets(config: dict[str, Any]) -> dict[str, int]:
    return {target["target"]: target["weight"] for target in upstream(config, "ai-chat")["targets"]}


def upstream(config: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in config["upstreams"] if one["name"] == name]
    return dict(found)


# --- the wheel ---


AGX0, ORIN0, NANO = (f"192.168.1.{end}" for end in ("154:11434", "157:11435", "159:11434"))


@cases(("changes", "expected"), {
    "shares become a small wheel without the edge": ({}, {AGX0: 4, ORIN0: 1}),
    "a drained node stays listed": ({"AGX0": {"drained": True}}, {AGX0: 0, ORIN0: 1}),
    "a node taken into the balancing becomes a target": (
        {"AGX0": {"share": 70}, "NANO": {"share": 10}}, {AGX0: 7, ORIN0: 2, NANO: 1}),
})  # fmt: skip
def test_the_targets_are_the_nodes_that_share_requests(changes, expected):
    assert targets(parsed(overrides={"cluster_nodes": cluster_with(**changes)})) == expected


@pytest.mark.parametrize(("drained", "weight"), [(False, 1), (True, 0)])
def test_each_set_of_nodes_has_an_upstream_and_the_edge_is_reached_through_its_nginx(drained, weight):
    config = parsed(overrides={"cluster_nodes": cluster_with(AGX0={"drained": drained})})
    sets = {one["name"]: one["targets"] for one in config["upstreams"] if one["name"].startswith("ai.")}
    found = {name: {target["target"]: target["weight"] for target in one} for name, one in sets.items()}
    assert found == {"ai.agx0": {AGX0: weight}, "ai.nano": {"192.168.1.159:80": 1}, "ai.orin0": {ORIN0: 1}}


def test_all_requests_of_a_user_for_images_go_to_the_comfyui_that_knows_the_jobs():
    told = {one["name"]: (one["algorithm"], one.get("hash_on")) for one in parsed()["upstreams"]}
    assert told["image"] == ("consistent-hashing", "consumer")
    assert {told[name] for name in told if name != "image"} == {("round-robin", None)}


@cases(("shares", "retries"), {
    "a small wheel keeps the smallest number of retries": ((80, 20), 5),
    "a long run of one node's slots raises the retries": ((95, 5), 19),
})  # fmt: skip
def test_retries_reach_another_node_wherever_the_wheel_stands(shares, retries):
    nodes = cluster_with(AGX0={"share": shares[0]}, ORIN0={"share": shares[1]})
    config = parsed(overrides={"cluster_nodes": nodes})
    weights = list(targets(config).values())
    balanced = [service for service in config["services"] if service["host"] == "ai-chat"]
    assert all(service["retries"] == retries for service in balanced)
    assert retries >= max(weights) // gcd(*weights)


def test_every_answer_of_the_probe_moves_a_counter():
    active = upstream(parsed(), "ai-chat")["healthchecks"]["active"]
    good, bad = set(active["healthy"]["http_statuses"]), set(active["unhealthy"]["http_statuses"])
    assert good == {200}
    assert bad >= {400, 401, 403, 404, 405, 429, 500, 501, 502, 503, 504}, "a status in no list freezes it"


# --- services and routes ---


@cases(("path", "method"), {
    "Kong would pass on a slash at the end, and Ollama knows none": ("/api/v1/chat/", "POST"),
    "nor by the other interface": ("/v1/models/chat", "DELETE"),
    "nothing lies below the WebSocket": ("/api/v1/image/ws/x", "GET"),
    "nobody unloads models of ComfyUI": ("/api/v1/image/free", "POST"),
})  # fmt: skip
def test_what_does_not_infer_has_no_route(path, method):
    config = parse(render.render_role("kong")[KONG_YML], environment()["KONG_PLUGINS"].split(","))
    assert Router(config.routes).match(method, path) is None


# --- plugins ---


@cases(("lacking", "policy", "redis"), {
    "in the Redis beside it": (["PI52"], "redis", ("redis", 6379)),
    "in one of another node": (["PI51"], "redis", ("192.168.1.247", 6379)),
    "by itself where there is none": ([], "local", (None, None)),
})  # fmt: skip
def test_every_route_asks_for_a_key_and_counts_requests(lacking, policy, redis):
    for _, route in routes(parsed(overrides=render.without("redis", on=lacking))):
        assert plugin(route, "key-auth")["key_names"] == ["apikey", "authorization"]
        limits = plugin(route, "rate-limiting")
        where = limits.get("redis", {})
        assert (limits["policy"], (where.get("host"), where.get("port"))) == (policy, redis)
        verified = where.get("ssl", False), where.get("ssl_verify", False), where.get("server_name", "")
        assert verified == ((True, True, "pi52.local") if lacking == ["PI51"] else (False, False, ""))
