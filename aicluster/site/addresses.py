"""Who reaches a port, and where: what its `from` means on the network."""

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any


def listens_on(port: Mapping[str, Any], address: str) -> str | None:
    """Return the address a port of the catalogue is published at; None where nobody may reach it."""
    audience = list(port.get("from") or [])
    if not audience:
        return None
    return "127.0.0.1" if audience == ["localhost"] else address


def scheme_of(port: Mapping[str, Any]) -> str:
    """Return how a URL of a port of the catalogue begins."""
    return "https" if port.get("tls") else "http"


def is_open(port: Mapping[str, Any], audience: str) -> bool:
    """Tell whether a tier, or the operators, may reach a port; all of them are on the LAN."""
    return not {audience, "lan", "internet"}.isdisjoint(port["from"])


def audience_networks(
    audiences: Iterable[str], nodes: Iterable[Mapping[str, Any]], lan: str, operators: Iterable[str]
) -> list[dict[str, Any]]:
    """Return the networks that `audiences` (the `from` of a port) mean, each once.

    `nodes`: entries of `cluster_nodes`; `lan`: `site_network`; `operators`: `site_operators`.
    Entry: audience, node (its name, or None), network (`address/prefix`). Nodes come first, in the cluster's
    order; then `lan`, `operators`, `internet`, without what came before. `localhost` is no place on the
    network.
    """
    asked = list(audiences)
    places = [
        *((node["tier"], node["name"], node["address"]) for node in nodes),
        ("lan", None, lan),
        *(("operators", None, text) for text in operators),
        ("internet", None, "0.0.0.0/0"),
    ]
    found: dict[str, dict[str, Any]] = {}
    for audience, node, text in places:
        if audience in asked:
            network = str(ipaddress.IPv4Network(text))
            found.setdefault(network, {"audience": audience, "node": node, "network": network})
    return list(found.values())


def own_addresses(network: str) -> list[str]:
    """Return the address with which this machine is in a network; none outside it. Nothing is sent."""
    inside = ipaddress.IPv4Network(network)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            # Which address the kernel would send from; any port does.
            asked.connect((str(inside[1]), 9))
        except OSError:
            return []
        found = str(asked.getsockname()[0])
    return [found] if ipaddress.IPv4Address(found) in inside else []
