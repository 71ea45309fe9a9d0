#!/usr/bin/env python3
"""Writes the state of this node's services for node_exporter's textfile collector, and more of containers.

usage: aicluster_containers.py INTERVAL_S

A fraction of what cadvisor costs: one question to Docker's socket and one small file read per container.
"""

import http.client
import json
import socket
import subprocess
import sys
import time
from typing import AbstractSet, Any, Dict, List, Mapping, Sequence, Set

from aicluster_textfile import Sample, hand_out, text
from aicluster_verify import ROOT, active_profile

SYSTEMCTL_LIMIT_S = 20.0
SOCKET = "/run/docker.sock"
QUERY = "/containers/json?all=1&filters=" + (
    "%7B%22label%22%3A%5B%22com.docker.compose.project%3Daicluster%22%2C"
    "%22com.docker.compose.oneoff%3DFalse%22%5D%7D"
)
# cgroup v2 and v1, under systemd and under the engine's own driver.
MEMORY_FILES = (
    "/sys/fs/cgroup/system.slice/docker-%s.scope/memory.current",
    "/sys/fs/cgroup/docker/%s/memory.current",
    "/sys/fs/cgroup/memory/docker/%s/memory.usage_in_bytes",
    "/sys/fs/cgroup/memory/system.slice/docker-%s.scope/memory.usage_in_bytes",
)
STATES = ("healthy", "inactive", "starting", "failed")
HELP = {
    "aicluster_service_state": "1 for the state of a service: healthy, inactive, starting or failed.",
    "aicluster_container_restarts_total": "How often Docker started the container again by itself.",
    "aicluster_container_memory_bytes": "Memory of the container, its page cache included.",
    "aicluster_container_memory_limit_bytes": "Memory the service may use.",
    "aicluster_containers_seen_timestamp_seconds": "When the containers were looked at.",
}


class _Docker(http.client.HTTPConnection):
    def __init__(self) -> None:
        super().__init__("localhost", timeout=20)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def ask(path: str) -> Any:
    """Return the JSON Docker answers; raises OSError or ValueError."""
    connection = _Docker()
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise OSError("Docker answers %d to %s" % (answer.status, path))
        return json.loads(answer.read().decode())
    finally:
        connection.close()


def active_units(names: Sequence[str]) -> Set[str]:
    """Return which of these systemd units are active; none where systemd does not answer."""
    if not names:
        return set()
    try:
        done = subprocess.run(
            ["systemctl", "is-active", *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SYSTEMCTL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        print("systemd does not answer: %s" % error, file=sys.stderr, flush=True)
        return set()
    return {name for name, state in zip(names, done.stdout.decode().split()) if state == "active"}


def container_state(one: Mapping[str, Any]) -> str:
    """Return healthy, starting or failed; Docker ends `starting` after what the health check allows.

    What Docker had to start again has ended before: such a loop has failed, it is not starting.
    """
    status = one.get("Status", "")
    if one["State"] == "running" and "(healthy)" in status:
        return "healthy"
    if one["State"] == "running" and "(health: starting)" in status and not one["RestartCount"]:
        return "starting"
    return "failed"


def service_state(
    entry: Mapping[str, Any], containers: Sequence[Mapping[str, Any]], profile: str, units: AbstractSet[str]
) -> str:
    """Return one of STATES; `containers` are those of the service as `samples` gets them."""
    if entry["profiles"] and profile not in entry["profiles"]:
        return "inactive"
    if not entry["container"]:
        return "healthy" if entry["unit"] is None or entry["unit"] in units else "failed"
    found = {container_state(one) for one in containers} or {"failed"}
    return max(found, key=STATES.index)


def memory(identity: str) -> float:
    """Return the bytes a container uses, -1 where no known file says so."""
    for pattern in MEMORY_FILES:
        try:
            with open(pattern % identity) as handle:
                return float(handle.read())
        except OSError:
            continue
    return -1.0


def samples(
    services: Mapping[str, Mapping[str, Any]],
    listed: Sequence[Dict[str, Any]],
    profile: str,
    units: AbstractSet[str],
) -> List[Sample]:
    """Return the samples of all services of the node.

    `services` is that of /opt/aicluster/verify.json; an entry of `listed` also has RestartCount.
    """
    found = []  # type: List[Sample]
    for service, entry in sorted(services.items()):
        own = [one for one in listed if one["Labels"].get("aicluster.service") == service]
        state = service_state(entry, own, profile, units)
        found += [
            ("aicluster_service_state", {"name": service, "state": name}, float(name == state))
            for name in STATES
        ]
        if entry["container"]:
            limit = float(entry["memory_mb"]) * 1024 * 1024
            found.append(("aicluster_container_memory_limit_bytes", {"name": service}, limit))
        for one in own:
            labels = {"name": service, "container": one["Labels"]["com.docker.compose.service"]}
            found.append(("aicluster_container_restarts_total", labels, float(one["RestartCount"])))
            used = memory(one["Id"]) if one["State"] == "running" else -1.0
            if used >= 0:
                found.append(("aicluster_container_memory_bytes", labels, used))
    return found


def look() -> str:
    """Return the metrics of this moment; without an answer of the engine its services have failed."""
    # Before anything is asked: what is told is not older than this.
    began = float(int(time.time()))
    with open(ROOT + "/verify.json") as handle:
        services = json.load(handle)["services"]
    try:
        listed = ask(QUERY)
        for one in listed:
            one["RestartCount"] = ask("/containers/%s/json" % one["Id"])["RestartCount"]
    except (OSError, ValueError, http.client.HTTPException) as error:
        print("Docker does not answer: %s" % error, file=sys.stderr, flush=True)
        listed = []
    units = active_units([entry["unit"] for entry in services.values() if entry["unit"]])
    seen = ("aicluster_containers_seen_timestamp_seconds", {}, began)  # type: Sample
    return text([*samples(services, listed, active_profile(), units), seen], HELP)


if __name__ == "__main__":
    hand_out("aicluster_containers", float(sys.argv[1]), look)
