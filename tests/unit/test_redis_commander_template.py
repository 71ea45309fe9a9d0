"""What the role `redis_commander` puts on its node: one file of settings that holds all it knows."""

import json
from copy import deepcopy

import render

SECRET = "/opt/aicluster/redis_commander/secrets/local-production.json"
HOST = "192.168.1.247"
GATEWAY = "192.168.1.147"


def test_a_redis_of_another_node_that_is_open_to_this_tier_is_reached_at_its_published_port():
    nodes = deepcopy(render.cluster("production"))
    gateway = next(node for node in nodes if node["host"] == GATEWAY)
    gateway["services"]["redis"]["ports"]["redis"] = {"port": 6380, "container": 6379, "from": ["backend"]}
    files = render.render_role("redis_commander", host=HOST, overrides={"cluster_nodes": nodes})
    connections = json.loads(files[SECRET])["connections"]
    reached = {(each["label"], each["host"], each["port"]) for each in connections}
    assert reached == {(gateway["name"], GATEWAY, 6380), ("PI52", "redis", 6379)}
