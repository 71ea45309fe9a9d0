"""What a service was before its image changed, and the way back to it.

Source: what each node remembers, service -> {image, digest, at, snapshots: [{job, copy, store, snapshot,
live}]}; `live`: the data come back while the service runs, by a program of its own.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SiteError
from ..site.replication import is_standby
from .jobs import has_data
from .restore import Kind, hosts_of, meant_by
from .stores import Node

Before = Mapping[str, Any]


def remembered(before: Before, snapshots: Mapping[str, Any], now: float) -> dict[str, dict[str, Any]]:
    """Return what a node is to remember of services whose images are about to change."""
    return {
        service: {
            "image": one["image"],
            "digest": one["digest"],
            "at": int(now),
            "snapshots": snapshots.get(service, []),
        }
        for service, one in before.items()
    }


def no_backup(node: str, service: str, change: Mapping[str, Any], why: str) -> str:
    """Return the sentence for a service that stays as it is because it was not backed up."""
    return (
        f"backup of {service} on {node} ({why}): must succeed before its image {change['image']} becomes "
        f"{change['to']}, and no service or file of the node was changed; correct that, or go on without a "
        "backup: -e backup_before_change=false"
    )


def runs_here(node: Node) -> list[str]:
    """Return the services of a node whose image can be put back; a standby follows its primary."""
    services = node["services"].items()
    return [service for service, entry in services if entry["image"] and not is_standby(entry)]


ROLLBACK = Kind("rollback", "runs in a container", "runs", runs_here)


def targets(nodes: Sequence[Node], hosts: Sequence[str], service: str, name: str = "") -> list[str]:
    """Return the hosts a rollback is about, as `restore.targets` does."""
    return hosts_of(ROLLBACK, nodes, meant_by(ROLLBACK, nodes, hosts, name), service)


def listed(node: str, before: Before) -> list[str]:
    """Return the lines for people of what a node can go back to."""
    lines = []
    for service, one in sorted(before.items()):
        kept = ", ".join(
            f"{copy['job']} {copy['snapshot'][:8]} on {copy['store']}" for copy in one["snapshots"]
        )
        when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(one["at"]))
        lines.append(f"{node}: {service}: {one['image']} until {when}, data: {kept or 'none'}")
    return lines or [f"{node}: no image has changed"]


def way_back(node: Node, service: str, before: Before, data: bool) -> dict[str, Any]:
    """Return what is known of a service of before its change; raise SiteError where nothing is.

    `data`: whether its data are to come back, too.
    """
    if service not in before:
        others = ", ".join(sorted(before)) or "no service"
        raise SiteError(
            f"rollback: {service} on {node['name']}: must have had another image, and the node remembers one "
            f"of {others}; to change it all the same, set its image in group_vars/all/services.yml"
        )
    known = dict(before[service])
    if not data:
        known["snapshots"] = []
    elif has_data(node["services"][service]) and not known["snapshots"]:
        raise SiteError(
            f"rollback: {service} on {node['name']}: must have a snapshot of before its change, and "
            "backup_before_change was false; put back the image alone with -e data=false"
        )
    return known


def pins_for(
    nodes: Sequence[Node], host: str, service: str, before: Before, mirror: str
) -> list[dict[str, Any]]:
    """Return the pins of a service on its host, and of its standby, which reads its files.

    They name the very image, below whichever mirror the node takes images from.
    """
    image = before["image"].removeprefix(f"{mirror.rstrip('/')}/" if mirror else "")
    exact = f"{image}@{before['digest']}" if before["digest"] and "@" not in image else image
    standbys = [node["host"] for node in nodes if is_standby(node["services"].get(service, {}))]
    return [{"host": one, "service": service, "image": exact} for one in (host, *standbys)]
