"""What a node's container is made of: a board's memory, and as many rights as the host can give."""

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aicluster_lab import containers, nodes
from aicluster_lab.sitedata import Node
from tree import ROOT

ALL = (1 << len(nodes.CAPABILITIES)) - 1
LAST = len(nodes.CAPABILITIES) - 1
NODE = Node(name="PI31", address=IPv4Address("198.18.77.234"), board="Raspberry Pi 3", memory_mb=1024)


@pytest.mark.parametrize(
    ("bounding_set", "last", "expected"),
    [
        pytest.param(ALL, LAST, (), id="a full machine lacks nothing"),
        pytest.param(ALL & ~(1 << 24), LAST, ("SYS_RESOURCE",), id="a cleared bit is a missing capability"),
        pytest.param(ALL & ~1, LAST, ("CHOWN",), id="the lowest bit is CHOWN"),
        pytest.param((1 << 38) - 1, 37, (), id="an older kernel does not lack what it does not know"),
        pytest.param(ALL, LAST + 1, (), id="a newer kernel's unknown capabilities are not asked for"),
    ],
)
def test_missing_capabilities(bounding_set, last, expected):
    assert nodes.missing_capabilities(bounding_set, last) == expected


def test_a_node_is_privileged_where_the_host_lacks_nothing():
    config = nodes.host_config(1024, ())
    assert config["Privileged"] is True
    assert "CapAdd" not in config


def test_a_node_gets_everything_but_what_the_host_lacks():
    config = nodes.host_config(1024, ("SYS_RESOURCE",))
    assert "Privileged" not in config
    assert (config["CapAdd"], config["CapDrop"]) == (["ALL"], ["SYS_RESOURCE"])
    assert config["SecurityOpt"] == ["seccomp=unconfined", "apparmor=unconfined"]
    assert (config["MaskedPaths"], config["ReadonlyPaths"]) == ([], [])
    assert config["DeviceCgroupRules"] == ["a *:* rwm"]


@pytest.mark.parametrize("missing", [(), ("SYS_RESOURCE",)], ids=["privileged", "with fewer rights"])
def test_a_node_has_its_boards_memory_and_no_swap_beyond_it(missing):
    config = nodes.host_config(1024, missing)
    assert config["Memory"] == config["MemorySwap"] == 1 << 30
    assert config["CgroupnsMode"] == "private"


def test_a_node_is_named_after_its_board():
    described = nodes.description(NODE, ())
    assert (described.name, described.hostname) == ("aicluster-lab-PI31", "PI31")


def test_a_container_is_made_anew_when_its_image_or_anything_about_it_changes():
    described = nodes.description(NODE, ())
    same = containers.description_hash(described, "sha256:1")
    assert same == containers.description_hash(nodes.description(NODE, ()), "sha256:1")
    assert same != containers.description_hash(described, "sha256:2")
    assert same != containers.description_hash(nodes.description(NODE, ("BPF",)), "sha256:1")
    moved = Node(NODE.name, IPv4Address("198.18.77.235"), NODE.board, NODE.memory_mb)
    assert same != containers.description_hash(nodes.description(moved, ()), "sha256:1")


def test_the_login_folders_are_those_the_image_makes():
    dockerfile = Path(ROOT, "lab/images/node/Dockerfile").read_text()
    for user, (folder, uid) in nodes.USERS.items():
        assert f"/{folder}" in dockerfile
        assert user == "root" or f"--uid {uid}" in dockerfile
