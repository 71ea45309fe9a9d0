"""audience_networks: whom the `from` of a port means on the network."""

import pytest

from aicluster.site.addresses import audience_networks

LAN, OPERATORS = "10.0.0.0/24", ["10.0.0.9", "10.8.0.0/24"]
NODES = [
    {"name": "GATE", "tier": "gateway", "address": "10.0.0.2"},
    {"name": "ONE", "tier": "primary_ai", "address": "10.0.0.3"},
    {"name": "TWO", "tier": "primary_ai", "address": "10.0.0.4"},
]


@pytest.mark.parametrize(("audiences", "expected"), [
    pytest.param(["localhost"], [], id="localhost is no place on the network"),
    pytest.param(["gateway"], ["10.0.0.2/32"], id="a tier is its node"),
    pytest.param(["primary_ai"], ["10.0.0.3/32", "10.0.0.4/32"], id="a tier is all of its nodes"),
    pytest.param(["lan"], ["10.0.0.0/24"], id="lan is the network of the site"),
    pytest.param(["operators", "lan", "gateway"],
        ["10.0.0.2/32", "10.0.0.0/24", "10.0.0.9/32", "10.8.0.0/24"],
        id="nodes come first, then the network, then operators"),
])  # fmt: skip
def test_an_audience_means(audiences, expected):
    found = audience_networks(audiences, NODES, LAN, OPERATORS)
    assert [entry["network"] for entry in found] == expected


def test_every_network_is_there_once_under_its_first_name():
    found = audience_networks(["gateway", "lan", "operators"], NODES, LAN, ["10.0.0.0/24", "10.0.0.2"])
    assert found == [
        {"audience": "gateway", "node": "GATE", "network": "10.0.0.2/32"},
        {"audience": "lan", "node": None, "network": "10.0.0.0/24"},
    ]
