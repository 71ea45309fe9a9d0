"""Which nodes store the copies of which others.

Source: the placement of the services `backup` and `backup_store`, and `disk_gb` of the latter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ..site.nodes import nodes_running, service_endpoints

BACKUP, STORE, PORT = "backup", "backup_store", "rest"
# Copies of what says nothing else, and most that there are.
COPIES = 2

Node = Mapping[str, Any]


def all_stores(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that store copies, the largest first, then by name."""
    return sorted(
        nodes_running(nodes, STORE), key=lambda node: (-node["services"][STORE]["disk_gb"], node["name"])
    )


def stores_of(nodes: Sequence[Node], host: str) -> list[Node]:
    """Return the nodes that store what a node keeps, the first copy's first: the largest, never itself."""
    return [node for node in all_stores(nodes) if node["host"] != host][:COPIES]


def backup_stores(nodes: Sequence[Node], host: str) -> list[dict[str, Any]]:
    """Return where the node `host` sends its copies, the first copy first.

    Entry: node (name of the store), address, port. Raises SiteError for a store without the port `rest`.
    """
    reached = {end["host"]: end for end in service_endpoints(nodes, STORE, PORT)}
    ends = [reached[store["host"]] for store in stores_of(nodes, host)]
    return [{key: end[key] for key in ("node", "address", "port")} for end in ends]


def backup_clients(nodes: Sequence[Node], host: str) -> list[str]:
    """Return the names of the nodes whose copies are sent to the store on `host`, sorted."""
    return sorted(
        node["name"]
        for node in nodes_running(nodes, BACKUP)
        if host in [store["host"] for store in stores_of(nodes, node["host"])]
    )
