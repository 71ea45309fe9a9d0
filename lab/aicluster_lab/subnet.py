"""Is the lab's subnet free on this machine? Asked before anything is created."""

import json
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path
from typing import Any

import docker

from .errors import LabError

BRIDGE = "aicluster-lab"
"""Interface of the lab's own network (a Linux interface name has at most 15 characters)."""
RESOLVER_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
SHORTEST_ROUTE = 8
"""Shorter prefixes (a VPN's 0.0.0.0/1) mean "everything else", not a network that the lab would hide."""


@dataclass(frozen=True)
class Occupied:
    """An address range this machine already uses."""

    network: IPv4Network
    what: str


def require_free(subnet: IPv4Network, occupied: Iterable[Occupied]) -> None:
    """Refuse a subnet that overlaps anything in use."""
    hits = [item.what for item in occupied if item.network.overlaps(subnet)]
    if hits:
        raise LabError(
            f"The lab's network {subnet} overlaps what this machine already uses: {'; '.join(hits)}. "
            "It must not, or the machine would lose its way there. Choose another private range: change "
            "site_network, site_router and the registry's address in inventory/lab/group_vars/lab.yml, and "
            "the host addresses in inventory/lab/hosts.yml (with the folders of the same names in "
            "inventory/lab/host_vars/)."
        )


def occupied_by_routes(routes: Iterable[dict[str, Any]]) -> list[Occupied]:
    """Ranges in `ip -j route show table all`, without default routes, IPv6 and the lab's own bridge.

    The kernel has routes for the machine's own addresses and their networks, too.
    """
    found: list[Occupied] = []
    for route in routes:
        network = _network(str(route.get("dst", "")))
        if network and route.get("dev") != BRIDGE and network.prefixlen >= SHORTEST_ROUTE:
            found.append(Occupied(network, f"route {network} on {route.get('dev', 'no interface')}"))
    return found


def host_resolvers() -> list[IPv4Address]:
    """The IPv4 name servers this machine asks, each once, without loopback ones."""
    texts = (path.read_text() for path in RESOLVER_FILES if path.exists())
    lines = [line.split() for text in texts for line in text.splitlines()]
    named = [_network(words[1]) for words in lines if words[:1] == ["nameserver"]]
    return list(dict.fromkeys(one.network_address for one in named if one and not one.is_loopback))


def host_occupied(client: docker.DockerClient, own_network: str) -> list[Occupied]:
    """Everything this machine uses: routes, resolvers, other Docker networks."""
    found = occupied_by_routes(_routes())
    found += [Occupied(IPv4Network(address), f"resolver {address}") for address in host_resolvers()]
    for network in client.networks.list():
        for config in (network.attrs.get("IPAM") or {}).get("Config") or []:
            subnet = _network(config.get("Subnet", ""))
            if subnet and network.name != own_network:
                found.append(Occupied(subnet, f"Docker network {network.name} {subnet}"))
    return found


def _routes() -> list[dict[str, Any]]:
    command = ["ip", "-j", "-4", "route", "show", "table", "all"]
    try:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise LabError(
            "The command `ip` is missing: the lab compares its network with this machine's routes before it "
            "starts. Install the package iproute2."
        ) from None
    found: list[dict[str, Any]] = json.loads(output or "[]")
    return found


def _network(text: str) -> IPv4Network | None:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return None
    return network if isinstance(network, IPv4Network) else None
