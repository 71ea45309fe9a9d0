"""The rules that are loaded are those of the file, and every other node lets this one in where it shall."""

import errno
import json
import os
import select
import socket
import time
from typing import Dict, Iterable, Set, Tuple

from aicluster_verify import CheckError, Kit

RULES = "/etc/aicluster/firewall.nft"
KEPT = "/var/lib/aicluster/firewall.nft"
MATRIX = "/opt/aicluster/firewall/matrix.json"
LISTING = "nft --stateless list table inet aicluster"
RELOAD = "sudo nft --file " + RULES
# A drop is silence. Between nodes of one LAN an answer takes milliseconds.
SILENCE_S = 3
# Another error, as "no route to host", is this node's own about one without power.
ANSWERED = (0, errno.ECONNREFUSED)
Place = Tuple[str, int]


def check(kit: Kit) -> str:
    """Compare the loaded rules with the file, then knock at every port of every other node."""
    try:
        loaded = kit.run(LISTING.split())
    except CheckError as error:
        raise CheckError("every port is open to everybody: %s" % error.evidence, RELOAD) from None
    # The same file, loaded where it lets nobody in or out.
    if loaded != kit.run(["unshare", "--net", "sh", "-c", "nft --file %s && %s" % (RULES, LISTING)]):
        raise CheckError("the rules that are loaded are not those of %s" % RULES, RELOAD)
    if not os.path.exists(KEPT) or read(KEPT) != read(RULES):
        raise CheckError("the rules of %s were never confirmed" % RULES, "ansible-playbook site.yml")
    matrix = json.loads(read(MATRIX))
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
            "this node is let in where it shall not be, or not where it shall: %s" % "; ".join(sorted(wrong)),
            caused_by=causes,
        )
    tried = sum(len(one["open"]) + len(one["shut"]) for one in matrix)
    return "the rules are loaded; %d ports of %d nodes answer or are silent as they shall" % (
        tried,
        len(matrix),
    )


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
