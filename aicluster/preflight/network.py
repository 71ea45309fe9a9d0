"""The site's networks, and the names and addresses of its nodes."""

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..site.rules import LAST_PORT, is_text, shown
from .subjects import HOST_FILE, NODE_FILE, SITE_FILE, Site, label, place_of

# Docker's own bridge, which it makes whether anybody uses it or not.
DOCKER_BRIDGE = ipaddress.IPv4Network("172.17.0.0/16")


def network_of(text: object) -> ipaddress.IPv4Network | None:
    """Return a network written without host bits, or None."""
    try:
        return ipaddress.IPv4Network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def is_for_containers(value: object) -> bool:
    """Tell whether a node's containers may have this network: it is big enough, and nobody else's."""
    network = network_of(value)
    return (
        network is not None
        and network.prefixlen in range(2, 17)
        and network.is_private
        and not network.overlaps(DOCKER_BRIDGE)
    )


def network_errors(site: Site) -> Iterator[str]:
    """Yield each `site_network` that is none, and each `site_router` and `site_operators` that is not there.

    Of a network, the corrected one is named if only host bits are set.
    """
    for variables in site["hosts"].values():
        value = variables.get("site_network")
        network = network_of(value)
        if network is None:
            try:
                fix = f"write {ipaddress.IPv4Network(value, strict=False)}"
            except ValueError:
                fix = "write for instance 192.168.1.0/24"
            yield f"site_network {shown(value)}: must be an IPv4 network; {fix} in {SITE_FILE}"
        else:
            text = variables.get("site_router")
            router = network_of(text)
            ends = (network.network_address, network.broadcast_address)
            if (
                router is None
                or router.num_addresses > 1
                or not router.subnet_of(network)
                or router.network_address in ends
            ):
                yield (
                    f"site_router {shown(text)}: must be an address inside site_network {network}; write "
                    f"that of your router in {SITE_FILE}"
                )
        yield from operator_errors(variables.get("site_operators"), network)
        if variables.get("site_operators") == [] and variables.get("site_firewall") is True:
            yield (
                "site_operators []: must name the machine that runs playbooks, which has no address in "
                f"site_network {shown(value)}; write the one with which nodes see it in {SITE_FILE}"
            )


def container_errors(site: Site) -> Iterator[str]:
    """Yield networks of containers whose addresses somebody else has: answers would not leave the node."""
    for host, variables in site["hosts"].items():
        containers = network_of(variables.get("node_container_network"))
        operators = variables.get("site_operators")
        for other in [variables.get("site_network"), *(operators if isinstance(operators, list) else [])]:
            network = network_of(other)
            if containers and network and network.prefixlen and containers.overlaps(network):
                yield (
                    f"node_container_network of {label(site, host)} {containers}: must not overlap "
                    f"{network} of {SITE_FILE}; write another, as 10.213.0.0/16, in "
                    f"{place_of(site, host, NODE_FILE)}"
                )


def operator_errors(operators: object, network: ipaddress.IPv4Network | None) -> Iterator[str]:
    """Yield why `site_operators` is no list of networks and addresses, or has nobody of this network."""
    if not isinstance(operators, list):
        yield (
            f"site_operators {shown(operators)}: must be a list of networks or addresses; "
            f"write for instance [192.168.1.10] in {SITE_FILE}"
        )
        return
    places = [network_of(one) for one in operators]
    for one, place in zip(operators, places, strict=True):
        if place is None or not place.prefixlen:
            yield (
                f"item of site_operators {shown(one)}: must be an IPv4 network or address, not everybody; "
                f"write for instance 192.168.1.0/24 or 192.168.1.10 in {SITE_FILE}"
            )
    if network and places and all(place and not place.overlaps(network) for place in places):
        yield (
            f"site_operators {shown(operators)}: one at least must be in site_network {network}, or this is "
            f"the list of another site; write who works there, {network} for everybody, in {SITE_FILE}"
        )


def firewall_errors(site: Site, nodes: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what nodes (of `cluster_nodes`) cannot let in beside their services, or let in already."""
    known = [*site["vocabulary"]["tiers"], "lan", "operators"]
    for node in nodes:
        variables = site["hosts"][node["host"]]
        networks = variables.get("firewall_ssh_ipv6", [])
        try:
            [*map(ipaddress.IPv6Network, networks)]
        except ValueError:
            rule = "must be IPv6 networks without host bits; write for instance [fd00:1::/64]"
            yield f"firewall_ssh_ipv6 {shown(networks)}: {rule}"
        taken = {node["ssh_port"]: "sshd"}
        for service, entry in node["services"].items():
            taken |= {port["port"]: service for port in entry["ports"].values() if port["from"]}
        for own in variables.get("firewall_own_ports", []):
            subject, number = f"firewall_own_ports {shown(own)}", int(own["port"])
            if not (1 <= number <= LAST_PORT and all(one in known for one in own["from"])):
                yield f"{subject}: must be a port up to {LAST_PORT}, from of {', '.join(known)}; correct it"
            if number in taken and own.get("protocol") != "udp":
                rule = f"must not be {taken[number]}'s; change its `from` instead, of sshd site_operators"
                yield f"{subject} on {node['name']}: {rule}"


def address_error(site: Site, host: str) -> str | None:
    """Return what is wrong with one node's address, or None."""
    variables = site["hosts"][host]
    text, network = variables.get("node_address"), network_of(variables.get("site_network"))
    subject = f"address of {label(site, host)} {shown(text)}"
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        place = place_of(site, host, HOST_FILE)
        return f"{subject}: must be an IPv4 address, four numbers from 0 to 255; set node_address in {place}"
    if network is None:
        return None
    if address not in network:
        return f"{subject}: must be inside site_network {network}; correct it, or group_vars/all/site.yml"
    if address in (network.network_address, network.broadcast_address):
        return f"{subject}: must not be the first or last of {network}; give the node another"
    if text == variables.get("site_router"):
        return f"{subject}: must not be site_router; give the node another or correct group_vars/all/site.yml"
    return None


def identity_errors(site: Site) -> Iterator[str]:
    """Yield invalid addresses, and names and addresses that several nodes have."""
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for host, variables in site["hosts"].items():
        if is_text(variables.get("node_address")):
            owners["address", variables["node_address"]].append(host)
            if error := address_error(site, host):
                yield error
        if is_text(variables.get("node_name")):
            # Names become host names, which know no upper case.
            owners["name", variables["node_name"].lower()].append(host)
    for (kind, _), hosts in owners.items():
        if len(hosts) > 1:
            values = dict.fromkeys(site["hosts"][host][f"node_{kind}"] for host in hosts)
            yield (
                f"node_{kind} {' and '.join(values)} of {' and '.join(hosts)}: must belong to one node; "
                f"give each its own in {HOST_FILE}"
            )
