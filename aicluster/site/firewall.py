"""Who gets through the firewall of a node to which of its ports: the `from` of its services, as networks."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .addresses import audience_networks
from .nodes import nodes_running

CONTROL, FIREWALL = "control_node", "firewall"


def collapsed(networks: Iterable[str]) -> list[str]:
    """Return networks without those inside others, in order; a single address without its prefix."""
    merged = ipaddress.collapse_addresses(map(ipaddress.IPv4Network, networks))
    return [str(one.network_address if one.prefixlen == one.max_prefixlen else one) for one in merged]


def reached_ports(
    nodes: Sequence[Mapping[str, Any]],
    host: str,
    lan: str,
    operators: Sequence[str],
    own: Iterable[Mapping[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return the ports of a node that somebody may reach over the network: {name, protocol, port, networks}.

    The first is that of sshd, for operators and for the control node. `nodes`: `cluster_nodes`; `lan`:
    `site_network`; `operators`: `site_operators`; `own`: ports of the site's own programs {port, from,
    protocol}.
    """
    node = next(node for node in nodes if node["host"] == host)
    control = [other["address"] for other in nodes_running(nodes, CONTROL)]

    def among(audiences: Iterable[str]) -> list[str]:
        return [one["network"] for one in audience_networks(audiences, nodes, lan, operators)]

    ports = [("sshd", "tcp", node["ssh_port"], [*control, *among(["operators"])])]
    for service, entry in node["services"].items():
        for name, port in entry["ports"].items():
            ports.append((f"{service} ({name})", "tcp", port["port"], among(port["from"])))
    for port in own:
        ports.append(("firewall_own_ports", port.get("protocol", "tcp"), port["port"], among(port["from"])))
    keys = ("name", "protocol", "port", "networks")
    return [
        dict(zip(keys, (name, protocol, number, collapsed(networks)), strict=True))
        for name, protocol, number, networks in ports
        if networks
    ]


def port_matrix(
    nodes: Sequence[Mapping[str, Any]], host: str, lan: str, operators: Sequence[str], own: Iterable[int] = ()
) -> list[dict[str, Any]]:
    """Return what a node shall see of each other one: {node, address, open, shut}, the latter two ports.

    `shut`: the other ports of the whole cluster, without those of the site's own programs (`own`); none where
    the other node has no firewall.
    """
    here = next(node for node in nodes if node["host"] == host)
    reached = {node["host"]: reached_ports(nodes, node["host"], lan, operators) for node in nodes}
    known = {port["port"] for ports in reached.values() for port in ports}
    known |= {
        port["port"]
        for node in nodes
        for entry in node["services"].values()
        for port in entry["ports"].values()
    }
    matrix = []
    for node in nodes:
        if node["host"] == host:
            continue
        open_ = {port["port"] for port in reached[node["host"]] if lets_in(port["networks"], here["address"])}
        shut = known - open_ - set(own) if FIREWALL in node["services"] else set()
        found = {
            "node": node["name"],
            "address": node["address"],
            "open": sorted(open_),
            "shut": sorted(shut),
        }
        matrix.append(found)
    return matrix


def lets_in(networks: Iterable[str], address: str) -> bool:
    """Tell whether one of these networks has an address; of IPv4 and IPv6 neither has one of the other."""
    found = ipaddress.ip_address(address)
    return any(found in ipaddress.ip_network(network) for network in networks)
