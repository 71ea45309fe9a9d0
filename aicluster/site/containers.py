"""The networks of a node's containers, and what each container may reach: its `needs` and `reaches`."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any
from zlib import crc32

from .addresses import is_open, listens_on
from .catalogue import OUTSIDE
from .ingress import INGRESS, ingress_pages

Node = Mapping[str, Any]
# The network of all containers that do not have one of their own, as compose calls it.
SHARED = "default"
# Who asks a port that the catalogue names for it: service that asks, and the key that names the port.
ASKING = {"prometheus": "metrics", "blackbox_exporter": "probe", "grafana": "datasource"}
# Pings every node.
PINGING = "blackbox_exporter"
# Of web servers: what answers where nobody shall.
WEB_PORTS = (80, 443)


def subnet_of(network: str, whole: str) -> IPv4Network:
    """Return the addresses of one of a node's networks: the lower half of them all, or 256 of the upper."""
    lower, upper = IPv4Network(whole).subnets()
    if network == SHARED:
        return lower
    slot = crc32(network.encode()) % (upper.num_addresses // 256)
    return IPv4Network((int(upper.network_address) + 256 * slot, 24))


def address_of(service: str, network: str, whole: str) -> str:
    """Return the address of a service's container in a network: its own, whatever else runs there."""
    subnet = subnet_of(network, whole)
    # Not the first three and the last: the network, the bridge, one that Docker would give away first.
    return str(subnet[3 + crc32(service.encode()) % (subnet.num_addresses - 4)])


def networks_of(service: str, node: Node) -> list[str]:
    """Return the networks a container is in."""
    own = (node["services"][service].get("ingress") or {}).get("network")
    if own:
        return [own]
    pages = ingress_pages(node) if service == INGRESS else []
    return [SHARED, *sorted({page["network"] for page in pages if page["network"]})]


def addresses_of(service: str, node: Node) -> dict[str, str]:
    """Return network -> the address a container has there."""
    return {
        network: address_of(service, network, node["container_network"])
        for network in networks_of(service, node)
    }


def compose_networks(node: Node) -> dict[str, dict[str, Any]]:
    """Return the networks of a node's compose project, with bridges that the firewall knows by name."""
    contained = [name for name, entry in node["services"].items() if entry.get("image")]
    return {
        network: {
            "name": f"aicluster-{network}",
            # A name of an interface has 15 characters at most.
            "driver_opts": {"com.docker.network.bridge.name": f"aic-{network}"[:15]},
            "ipam": {"config": [{"subnet": str(subnet_of(network, node["container_network"]))}]},
        }
        for network in sorted({network for name in contained for network in networks_of(name, node)})
    }


def asked(service: str, node: Node, other: Node, nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield each (service, name of its port) on `other`, maybe the same node, that a service connects to."""
    entry = node["services"][service]
    named = {*entry.get("needs", []), *entry.get("reaches", [])}
    if service == INGRESS:
        named |= {page["service"] for page in ingress_pages(node, nodes) if page["host"] == other["host"]}
    for target, its in other["services"].items():
        page = its.get(ASKING.get(service, "")) or {}
        for port in its["ports"]:
            if target in named or page.get("port") == port:
                yield target, port


def container_reach(nodes: Sequence[Node], host: str, router: str) -> list[dict[str, Any]]:
    """Return what each container of a node reaches, and what it shall not.

    Entry: service; addresses, its own; beside: [own address, address, port] of containers in the same
    network; beyond: [address, port] of nodes; outside: those of OUTSIDE; pings: the nodes it may ping;
    shut: all other [address, port] that nodes publish, and the router's. `nodes`: `cluster_nodes`.
    """
    node = next(one for one in nodes if one["host"] == host)
    contained = {name: addresses_of(name, node) for name, one in node["services"].items() if one.get("image")}
    web = {(router, port) for port in WEB_PORTS}
    known = {(one["address"], one["ssh_port"]) for one in nodes} | {
        (one["address"], port["port"])
        for one in nodes
        for entry in one["services"].values()
        for port in entry["ports"].values()
        if listens_on(port, one["address"]) == one["address"]
    }
    found = []
    for name, addresses in contained.items():
        beside, beyond = set(), set()
        for other in nodes:
            for target, port_name in asked(name, node, other, nodes):
                port = other["services"][target]["ports"][port_name]
                if other["host"] != host:
                    beyond |= {(other["address"], port["port"])} if is_open(port, node["tier"]) else set()
                    continue
                there = contained.get(target, {}) if target != name else {}
                common = addresses.keys() & there.keys()
                beside |= {(addresses[one], there[one], port["container"]) for one in common}
                if listens_on(port, node["address"]) == node["address"]:
                    beyond.add((node["address"], port["port"]))
        outside = [word for word in OUTSIDE if word in node["services"][name].get("reaches", [])]
        found.append(
            {
                "service": name,
                "addresses": sorted(addresses.values()),
                "beside": sorted(beside),
                "beyond": sorted(beyond),
                "outside": outside,
                "pings": [one["address"] for one in nodes] if name == PINGING else [],
                "shut": sorted((known if "lan" in outside else known | web) - beyond),
            }
        )
    return found
