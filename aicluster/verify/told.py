"""What a node's own `aicluster_verify.py` is told of the cluster: addresses and ports, no secret."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..site.addresses import listens_on
from ..site.nodes import profiles_of


def health_limit_s(health: Mapping[str, Any] | None) -> int:
    """Return the seconds after which Docker calls a container that never became healthy unhealthy.

    `health`: that of a catalogue entry, {start_s, retries, interval_s, timeout_s}; 0 without one.
    """
    if not health:
        return 0
    return int(health["start_s"] + health["retries"] * (health["interval_s"] + health["timeout_s"]))


def service_view(name: str, entry: Mapping[str, Any], node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a node knows of one of its own services."""
    return {
        "container": entry["image"] is not None,
        "unit": entry.get("unit"),
        "memory_mb": entry["memory_mb"],
        "health_limit_s": health_limit_s(entry.get("health")),
        "profiles": profiles_of(name, node),
        "replication": entry.get("replication"),
        "ports": {
            port_name: {
                "port": port["port"],
                "container": port["container"],
                "published": listens_on(port, node["address"]),
                "tls": port.get("tls", False),
            }
            for port_name, port in entry["ports"].items()
        },
    }


def neighbour_view(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return what every node knows of a node."""
    services = {
        name: {"ports": {port_name: port["port"] for port_name, port in entry["ports"].items()}}
        for name, entry in node["services"].items()
    }
    known = {key: node[key] for key in ("name", "host", "address", "tier")}
    # Whether, not how much: another share is nothing the other nodes have to hear of.
    return {**known, "balanced": node["share"] != 0, "services": services}


def verify_site(nodes: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return what the node of this name knows of its services and of all nodes."""
    cluster = list(nodes)
    here = next(node for node in cluster if node["name"] == name)
    return {
        "node": name,
        "services": {
            service: service_view(service, entry, here) for service, entry in here["services"].items()
        },
        "cluster": [neighbour_view(node) for node in cluster],
    }
