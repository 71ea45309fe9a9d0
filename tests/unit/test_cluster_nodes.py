"""cluster_nodes, nodes_running, service_endpoints: the cluster as data."""

from typing import Any

import pytest

from aicluster.site.nodes import cluster_nodes, service_endpoints

CATALOGUE = {
    "ollama": {"memory_mb": 4096, "ports": {"api": {"port": 11434, "container": 11434, "from": ["gateway"]}}},
    "redis": {"memory_mb": 256, "ports": {"redis": {"port": 6379, "from": []}}},
}


def host(address: str, **variables: Any) -> dict[str, Any]:
    return {"inventory_hostname": address, "group_names": ["nodes"], **variables}


def one(**variables: Any) -> dict[str, Any]:
    return cluster_nodes([host("10.0.0.1", **variables)], CATALOGUE)[0]


def test_an_override_on_one_node_leaves_the_catalogue_and_the_other_nodes_alone():
    override = {"ollama": {"memory_mb": 8192, "ports": {"api": {"port": 11435}}}}
    hosts = [host("10.0.0.1", node_services=[override]), host("10.0.0.2", node_services=["ollama"])]
    first, second = (node["services"]["ollama"] for node in cluster_nodes(hosts, CATALOGUE))
    assert first["ports"]["api"] == {"port": 11435, "container": 11434, "from": ["gateway"]}
    assert first["memory_mb"] == 8192
    assert second == CATALOGUE["ollama"]


def test_a_pin_beats_all_other_images_of_its_service_on_its_host_alone():
    hosts = [
        host(name, node_services=[{"ollama": {"image": "ollama:2"}}]) for name in ("10.0.0.1", "10.0.0.2")
    ]
    pins = [{"host": "10.0.0.1", "service": "ollama", "image": "ollama:1"}]
    first, second = (node["services"]["ollama"] for node in cluster_nodes(hosts, CATALOGUE, pins))
    assert (first["image"], first["pinned_from"], second["image"]) == ("ollama:1", "ollama:2", "ollama:2")


@pytest.mark.parametrize(("variables", "port"), [
    pytest.param({}, 22, id="nothing said"),
    pytest.param({"ansible_port": 2222}, 2222, id="ansible_port"),
    pytest.param({"ansible_port": 2222, "ansible_ssh_port": 2022}, 2022, id="what Ansible prefers"),
])  # fmt: skip
def test_a_node_has_the_ssh_port_of_its_inventory(variables, port):
    assert one(**variables)["ssh_port"] == port


MOVED = {"ollama": {"ports": {"api": {"port": 11435}}}}
C = {"node_name": "C", "node_address": "10.0.9.3", "node_ai_share": 20, "node_ai_capacity": 7.5}
CLUSTER = cluster_nodes(
    [
        host("10.0.0.1", node_name="A", node_services=["ollama", "redis"], node_ai_share=80),
        host("10.0.0.2", node_name="B", node_services=["redis"]),
        host("10.0.0.3", **C, node_services=[MOVED], node_drained=True),
    ],
    CATALOGUE,
)


def test_service_endpoints_say_where_and_how_much():
    assert [tuple(one.values()) for one in service_endpoints(CLUSTER, "ollama", "api")] == [
        ("A", "10.0.0.1", "10.0.0.1", 11434, 80, None, False),
        ("C", "10.0.0.3", "10.0.9.3", 11435, 20, 7.5, True),
    ]


# (tier, share of its own) of each node; primary_ai gets 80 together, edge nothing.
SHARES: dict[str, tuple[Any, ...]] = {
    "one node gets it all": ([("primary_ai", None)], [80]),
    "three get parts that add up exactly": ([("primary_ai", None)] * 3, [26.6668, 26.6666, 26.6666]),
    "a tier without a share gives none": ([("primary_ai", None), ("edge", None)], [80, None]),
    "a share of its own comes first": ([("primary_ai", 30), ("primary_ai", None)], [30, 80]),
}


@pytest.mark.parametrize(("nodes", "parts"), SHARES.values(), ids=SHARES)
def test_the_nodes_of_a_tier_share_what_the_tier_gets(nodes, parts):
    together = {"primary_ai": 80, "edge": None}
    hosts = [
        host("10.0.0.1", group_names=[tier], node_ai_share=share, node_ai_tier_share=together[tier])
        for tier, share in nodes
    ]
    assert [node["share"] for node in cluster_nodes(hosts, CATALOGUE)] == parts
