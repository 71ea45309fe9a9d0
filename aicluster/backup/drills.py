"""Which copies are restored every night to prove them, and where: on the first of all stores.

Source: `drill` of each service, and what its node keeps of it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .jobs import jobs_of
from .stores import BACKUP, Node, all_stores, stores_of


def drills_at(nodes: Sequence[Node], host: str) -> Iterator[tuple[Node, str, Mapping[str, Any]]]:
    """Yield node, service and entry of each service whose copies the node `host` restores."""
    if [node["host"] for node in all_stores(nodes)[:1]] != [host]:
        return
    for node in nodes:
        for service, entry in node["services"].items():
            if entry.get("drill") and BACKUP in node["services"] and stores_of(nodes, node["host"]):
                yield node, service, entry


def backup_drills(nodes: Sequence[Node], host: str, mirror: str = "") -> list[dict[str, Any]]:
    """Return what the node `host` restores every night; nothing unless it is the first of all stores.

    Entry: node (whose data it is), host (its inventory key), job, service, image and uid (of the service),
    stores (names, of the first copy first). `mirror`: where images come from, as `site_image_mirror`.
    """
    prefix = f"{mirror.rstrip('/')}/" if mirror else ""
    return [
        {
            "node": node["name"],
            "host": node["host"],
            "job": job["name"],
            "service": service,
            "image": f"{prefix}{entry['image']}",
            "uid": entry.get("uid", 0),
            "stores": [store["name"] for store in stores_of(nodes, node["host"])[: job["copies"]]],
        }
        for node, service, entry in drills_at(nodes, host)
        for job in jobs_of(service, entry)
    ]


def drill_programs(nodes: Sequence[Node], host: str) -> dict[str, str]:
    """Return service -> path of its program below roles/, of all that the node `host` needs."""
    return {service: f"{service}/{entry['drill']}" for _, service, entry in drills_at(nodes, host)}
