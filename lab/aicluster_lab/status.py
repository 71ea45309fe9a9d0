"""What the lab is doing now."""

import re
import subprocess
from typing import Any

import docker
from docker.errors import NotFound

from .containers import exec_output
from .parallel import in_parallel
from .sitedata import Node, Site

MEBIBYTE = 1 << 20
ASK_TIMEOUT_S = 10
NAMED = '{{or (.Label "com.docker.compose.service") .Names}} {{.Status}}'
SERVICES = ["timeout", str(ASK_TIMEOUT_S), "docker", "ps", "--all", "--format", NAMED]
HEADING = ("node", "state", "address", "memory", "services")


def node_row(client: docker.DockerClient, node: Node) -> tuple[str, ...]:
    """Ask one node: state, memory used of its board's, services inside."""
    try:
        container = client.containers.get(node.container)
    except NotFound:
        return node.name, "absent", str(node.address), "-", "-"
    if container.status != "running":
        return node.name, container.status, str(node.address), "-", "-"
    stats = container.stats(stream=False, one_shot=True)
    memory = stats["memory_stats"] if isinstance(stats, dict) else {}
    services = services_text(exec_output(container, SERVICES))
    return node.name, "running", str(node.address), memory_text(memory), services


def memory_text(stats: dict[str, Any]) -> str:
    """Memory in use (without the page cache) of the limit, in MiB, from the engine's memory_stats."""
    details: dict[str, int] = stats.get("stats", {})
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    used, limit = stats.get("usage", 0) - cache, stats.get("limit", 0)
    return f"{used // MEBIBYTE} / {limit // MEBIBYTE} MiB"


def services_text(listing: str) -> str:
    """The answer to SERVICES in one line: the name of one that is up, with its status if it is not."""
    shown = []
    for name, _, status in sorted(line.partition(" ") for line in listing.splitlines()):
        up = status.startswith("Up ") and not re.search("unhealthy|Paused", status)
        shown.append(name if up else f"{name} ({status})")
    return ", ".join(shown) or "none"


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns with a heading."""
    lines = [HEADING, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def show(client: docker.DockerClient, site: Site) -> str:
    """The whole status as text."""
    return table(in_parallel(len(site.nodes), lambda node: node_row(client, node), site.nodes))


def end_ssh_sessions(site: Site) -> None:
    """End ssh connections from this machine into the lab: Ansible keeps some open for ten minutes."""
    command = ["ss", "-H", "-t", "-n", "-p", "dst", str(site.network), "and", "dport", "=", ":22"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for pid in {word.partition(",")[0] for word in output.split("pid=")[1:]}:
        subprocess.run(["kill", pid], capture_output=True, check=False)
