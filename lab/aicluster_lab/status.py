"""What the lab is doing now."""

import json
import subprocess
import urllib.error
import urllib.request
from typing import Any

import docker
from docker.errors import NotFound

from .containers import exec_output
from .parallel import in_parallel
from .sitedata import Node, Site

MEBIBYTE = 1 << 20
ASK_TIMEOUT_S = 10
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
    listing = exec_output(container, f"timeout {ASK_TIMEOUT_S} docker ps --all --format json".split())
    return node.name, "running", str(node.address), memory_text(memory), services_text(listing)


def memory_text(stats: dict[str, Any]) -> str:
    """Memory in use (without the page cache) of the limit, in MiB, from the engine's memory_stats."""
    details: dict[str, int] = stats.get("stats", {})
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))  # cgroup v1, v2
    used, limit = stats.get("usage", 0) - cache, stats.get("limit", 0)
    return f"{used // MEBIBYTE} / {limit // MEBIBYTE} MiB"


def services_text(listing: str) -> str:
    """Services of `docker ps --all --format json` lines: plain name if up, with its state if not."""
    rows = [json.loads(line) for line in listing.splitlines() if line.startswith("{")]
    return ", ".join(sorted(_service_text(row) for row in rows)) or "none"


def _service_text(row: dict[str, str]) -> str:
    labels = dict(label.partition("=")[::2] for label in row.get("Labels", "").split(","))
    name = labels.get("com.docker.compose.service", row["Names"])
    good = row["State"] == "running" and "unhealthy" not in row["Status"]
    return name if good else f"{name} ({row['Status']})"


def gateway_text(url: str) -> str:
    """How the gateway answers on its front page."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/healthz", timeout=ASK_TIMEOUT_S) as answer:
            return f"HTTP {answer.status}"
    except urllib.error.HTTPError as error:
        return f"HTTP {error.code}"
    except OSError as error:
        return f"no answer ({getattr(error, 'reason', error)})"


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows as aligned columns with a heading."""
    lines = [HEADING, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)


def show(client: docker.DockerClient, site: Site) -> str:
    """The whole status as text."""
    rows = in_parallel(len(site.nodes), lambda node: node_row(client, node), site.nodes)
    if not site.gateway_url:
        return table(rows)
    return f"{table(rows)}\ngateway {site.gateway_url}: {gateway_text(site.gateway_url)}"


def end_ssh_sessions(site: Site) -> None:
    """End ssh connections from this machine into the lab: Ansible keeps some open for ten minutes."""
    command = ["ss", "-H", "-t", "-n", "-p", "dst", str(site.network), "and", "dport", "=", ":22"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    for pid in {word.partition(",")[0] for word in output.split("pid=")[1:]}:
        subprocess.run(["kill", pid], capture_output=True, check=False)
