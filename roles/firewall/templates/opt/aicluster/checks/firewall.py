"""The loaded rules are those of the file, and let between nodes and out of containers what they shall."""

import ctypes
import errno
import json
import os
import resource
import select
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Dict, Iterable, List, Set, Tuple

from aicluster_verify import CheckError, Kit

RULES = "/etc/aicluster/firewall.nft"
KEPT = "/var/lib/aicluster/firewall.nft"
MATRIX = "/opt/aicluster/firewall/matrix.json"
CONTAINERS = "/opt/aicluster/firewall/containers.json"
LISTING = "nft --stateless list table inet aicluster && nft --stateless list table bridge aicluster"
RUNNING = (
    "docker ps --quiet --filter label=aicluster.service | xargs --no-run-if-empty "
    """docker inspect --format '{{.State.Pid}} {{index .Config.Labels "aicluster.service"}}'"""
)
NEW_NETWORK, LISTENING = 0x40000000, "0A"
# Those a run has confirmed: others may be the ones that locked it out.
RELOAD = "sudo systemctl restart aicluster-firewall"
# A drop is silence. Between nodes of one LAN an answer takes milliseconds.
SILENCE_S = 3
# Another error, as "no route to host", is this node's own about one without power.
ANSWERED = (0, errno.ECONNREFUSED)
Place = Tuple[str, int]


def check(kit: Kit) -> str:
    """Compare the loaded rules with the file, then knock at every port, from here and from each container."""
    if not os.path.exists(KEPT) or read(KEPT) != read(RULES):
        raise CheckError(
            "no run has confirmed the rules of %s, so a boot does not load them" % RULES,
            "ansible-playbook site.yml",
        )
    try:
        loaded = kit.run(["sh", "-c", LISTING])
    except CheckError as error:
        raise CheckError("the firewall rules are not loaded: %s" % error.evidence, RELOAD) from None
    # The same file, loaded where it lets nobody in or out.
    if loaded != kit.run(["unshare", "--net", "sh", "-c", "nft --file %s && %s" % (RULES, LISTING)]):
        raise CheckError("the rules that are loaded are not those of %s" % RULES, RELOAD)
    matrix = json.loads(read(MATRIX))
    # Each place takes a file of the process; the limit of those that still use select() is in the way.
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE)[1:] * 2)
    # Silence takes its time once, for all.
    with ThreadPoolExecutor(1) as meanwhile:
        inside = meanwhile.submit(closed_to_containers, kit)
        answers = answering((one["address"], port) for one in matrix for port in one["open"] + one["shut"])
    wrong: Dict[str, str] = {}
    for one in matrix:
        seen = {port for address, port in answers if address == one["address"]}
        wrong.update(("%s:%d answers" % (one["node"], port), one["node"]) for port in seen & set(one["shut"]))
        # Of a node that is silent everywhere its own services tell more.
        silent = set(one["open"]) - seen if seen else ()
        wrong.update(("%s:%d is silent" % (one["node"], port), one["node"]) for port in silent)
    if wrong:
        causes = sorted({"firewall on " + node for node in wrong.values()})
        raise CheckError(
            "ports do not answer as services declare: %s" % "; ".join(sorted(wrong)),
            caused_by=causes,
        )
    tried = sum(len(one["open"]) + len(one["shut"]) for one in matrix)
    return (
        "the rules are loaded; %d ports of %d nodes answer or are closed as declared, %d for containers"
        % (tried, len(matrix), inside.result())
    )


def closed_to_containers(kit: Kit) -> int:
    """Return how many ports are closed to containers of this node, of nodes and of other containers."""
    found = [line.split() for line in kit.run(["sh", "-c", RUNNING]).splitlines()]
    # One that is restarting has no process.
    pids = {service: pid for pid, service in found if pid != "0"}
    told = [one for one in json.loads(read(CONTAINERS)) if one["service"] in pids]
    listens = {
        (address, port)
        for one in told
        for address in one["addresses"]
        for port in listening(pids[one["service"]])
    }
    shut = []
    for one in told:
        may = {(address, port) for _, address, port in one["beside"]}
        own = {place for place in listens if place[0] in one["addresses"]}
        shut.append(sorted((listens - may - own) | {(address, port) for address, port in one["shut"]}))
    with ThreadPoolExecutor(max(1, len(told))) as threads:
        reached = list(threads.map(answering_to, [pids[one["service"]] for one in told], shut))
    wrong = [
        "%s reaches %s:%d" % (one["service"], address, port)
        for one, places in zip(told, reached)
        for address, port in sorted(places)
    ]
    if wrong:
        raise CheckError("containers reach what no `needs` or `reaches` names: %s" % "; ".join(wrong), RELOAD)
    return sum(map(len, shut))


def listening(pid: str) -> Set[int]:
    """Return the TCP ports on which a container listens for others."""
    lines = [
        line.split()
        for name in ("tcp", "tcp6")
        for line in read("/proc/%s/net/%s" % (pid, name)).splitlines()
    ]
    opened = [words[1].split(":") for words in lines if words[3] == LISTENING]
    # 127.0.0.1 and ::1, as the kernel writes them.
    return {int(port, 16) for address, port in opened if not address.endswith(("7F", "01000000"))}


def answering_to(pid: str, places: List[Place]) -> Set[Place]:
    """Return those of the places that answer a container; the thread is in its network from then on."""
    with open("/proc/%s/ns/net" % pid) as network:
        if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), NEW_NETWORK):
            raise CheckError("network of process %s: %s" % (pid, os.strerror(ctypes.get_errno())))
    return answering(places)


def answering(places: Iterable[Place], silence_s: float = SILENCE_S) -> Set[Place]:
    """Return those of the places that answer, if only that nobody listens there."""
    asked: Dict[int, Tuple[socket.socket, Place]] = {}
    found: Set[Place] = set()
    poller, end = select.poll(), time.monotonic() + silence_s
    for place in places:
        one = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        one.setblocking(False)
        code = one.connect_ex(place)
        if code == errno.EINPROGRESS:
            asked[one.fileno()] = (one, place)
            poller.register(one, select.POLLOUT)
        elif code in ANSWERED:
            found.add(place)
    left = len(asked)
    while left and time.monotonic() < end:
        for descriptor, _ in poller.poll(100):
            one, place = asked[descriptor]
            poller.unregister(one)
            left -= 1
            if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERED:
                found.add(place)
    for one, _ in asked.values():
        one.close()
    return found


def read(path: str) -> str:
    """Return the text of a file."""
    with open(path) as handle:
        return handle.read()
