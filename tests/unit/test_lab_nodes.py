"""What a node's container is made of: a board's memory, and as many rights as the host can give."""

from ipaddress import IPv4Address

import pytest
from aicluster_lab import containers, nodes
from aicluster_lab.sitedata import Node

ALL = (1 << len(nodes.CAPABILITIES)) - 1
LAST = len(nodes.CAPABILITIES) - 1
NODE = Node(name="PI31", address=IPv4Address("198.18.77.234"), memory_mb=1024)


@pytest.mark.parametrize(("bounding_set", "last", "expected"), [
    pytest.param(ALL, LAST, (), id="a full machine lacks nothing"),
    pytest.param(ALL & ~(1 << 24), LAST, ("SYS_RESOURCE",), id="a cleared bit is a missing capability"),
    pytest.param((1 << 38) - 1, 37, (), id="an older kernel does not lack what it does not know"),
    pytest.param(ALL, LAST + 1, (), id="a newer kernel's unknown capabilities are not asked for"),
])  # fmt: skip
def test_missing_capabilities(bounding_set, last, expected):
    assert nodes.missing_capabilities(bounding_set, last) == expected


def test_a_container_is_made_anew_when_its_image_or_anything_about_it_changes():
    moved = Node(NODE.name, IPv4Address("198.18.77.235"), NODE.memory_mb)
    made = [(NODE, (), "1"), (NODE, (), "1"), (NODE, (), "2"), (NODE, ("BPF",), "1"), (moved, (), "1")]
    first, same, *others = [
        containers.description_hash(nodes.description(node, missing), f"sha256:{image}")
        for node, missing, image in made
    ]
    assert first == same and len({first, *others}) == 4
