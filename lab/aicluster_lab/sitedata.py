"""What the inventory says about the lab. Nothing here is decided by the lab itself."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from .ask import ask
from .errors import LabError

OVERLAY = "AICLUSTER_LAB_OVERLAY"
"""Environment variable: one more inventory over the lab's, to try another layout without editing a file."""

SOURCES = ("inventory/groups.yml", "inventory/lab", os.environ.get(OVERLAY))
INVENTORY = tuple(argument for source in SOURCES if source for argument in ("-i", source))
"""The arguments that name the lab's inventory and what lies over it."""
PREFIX = "aicluster-lab"
HTTP_PORT = 80


@dataclass(frozen=True)
class Node:
    """One lab node: what its container must look like."""

    name: str
    address: IPv4Address
    memory_mb: int

    @property
    def container(self) -> str:
        """Name of the node's container."""
        return f"{PREFIX}-{self.name}"


@dataclass(frozen=True)
class Site:
    """The lab as the inventory describes it."""

    root: Path
    network: IPv4Network
    router: IPv4Address
    registry: tuple[IPv4Address, int]
    nodes: tuple[Node, ...]
    images: tuple[str, ...]
    """Every image name:tag a placed service uses."""
    gateway_url: str
    """Where its clients knock."""

    @property
    def state(self) -> Path:
        """Folder of everything the lab writes and `down` removes."""
        return self.root / ".lab"

    @property
    def secrets_file(self) -> Path:
        """The secrets of the placed services."""
        return self.state / "secrets.yml"

    @property
    def private_key(self) -> Path:
        """The ssh key that opens every node."""
        return self.state / "ssh" / "id_ed25519"


def ansible(root: Path, tool: str) -> str:
    """Path of an Ansible command of the project's own environment."""
    return str(root / ".venv" / "bin" / tool)


QUESTION = (
    "{'nodes': cluster_nodes, 'lab': groups['lab'] | default([]), 'site_network': site_network,"
    " 'site_router': site_router, 'site_image_mirror': site_image_mirror}"
)


def load_site(root: Path) -> Site:
    """Read the lab inventory of the checkout `root`."""
    [answer] = ask(root, INVENTORY, "nodes[0]", QUESTION)
    return site_from(root, answer)


def site_from(root: Path, answer: Mapping[str, Any]) -> Site:
    """Turn Ansible's answer to QUESTION into a Site."""
    nodes = [node for node in answer["nodes"] if node["host"] in answer["lab"]]
    if not nodes:
        raise LabError("inventory/lab/hosts.yml has no host in the group `lab`: the lab has no node to make.")
    # What is in no catalogue is left to the preflight, which names what is like it.
    images = (entry.get("image") for node in nodes for entry in node["services"].values())
    registry = answer["site_image_mirror"].partition("/")[0].partition(":")
    site = Site(
        root=root,
        network=IPv4Network(answer["site_network"]),
        router=IPv4Address(answer["site_router"]),
        registry=(IPv4Address(registry[0]), int(registry[2] or HTTP_PORT)),
        nodes=tuple(map(_node, nodes)),
        images=tuple(dict.fromkeys(filter(None, images))),
        gateway_url=_gateway_url(nodes),
    )
    _require_addresses_inside(site)
    return site


def _node(node: Mapping[str, Any]) -> Node:
    if node["memory_mb"] is None:
        raise LabError(
            f"{node['host']}: the variable node_memory_mb is missing. "
            "Add it to the lab's group_vars or host_vars."
        )
    return Node(node["name"], IPv4Address(node["address"]), int(node["memory_mb"]))


def _gateway_url(nodes: Iterable[Mapping[str, Any]]) -> str:
    for node in nodes:
        if node["tier"] == "gateway" and "nginx" in node["services"]:
            port = node["services"]["nginx"]["ports"]["http"]["port"]
            return f"http://{node['address']}" + (f":{port}" if port != HTTP_PORT else "")
    raise LabError("No host of the group `gateway` runs nginx: place it in group_vars/gateway/services.yml.")


def _require_addresses_inside(site: Site) -> None:
    addresses = {node.name: node.address for node in site.nodes}
    addresses |= {"site_router": site.router, "site_image_mirror": site.registry[0]}
    outside = [f"{name} {address}" for name, address in addresses.items() if address not in site.network]
    if outside:
        raise LabError(
            f"Outside the lab network site_network {site.network}: {', '.join(outside)}. "
            "Give them addresses inside it, in inventory/lab/."
        )
