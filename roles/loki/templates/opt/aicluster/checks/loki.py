"""A line that every node wrote to its journal a moment ago is found in Loki."""

import time
from typing import List, Set
from urllib.parse import urlencode

from aicluster_verify import Broken, Kit

FLOWS = {"logs": "a line that every node wrote now is found"}
ARRIVES_WITHIN_S = 30


def arrived(kit: Kit, nodes: List[str]) -> Set[str]:
    """Return the nodes whose line of this run is stored."""
    query = urlencode(
        {
            "query": '{job="journal"} |= "aicluster verify %s "' % kit.run_id,
            "start": "%d000000000" % (time.time() - 3600),
            "limit": "1000",
        }
    )
    answer = kit.expect(kit.url("loki", "api", "/loki/api/v1/query_range?" + query)).json()
    found = {value[1] for stream in answer["data"]["result"] for value in stream["values"]}
    return {node for node in nodes if "aicluster verify %s %s" % (kit.run_id, node) in found}


def check(kit: Kit) -> str:
    """Name the nodes whose lines are missing."""
    nodes = [node["name"] for node in kit.cluster if "log_shipper" in node["services"]]
    if kit.run_id.startswith("by-hand"):  # the other nodes were not asked to write a line
        nodes = [node for node in nodes if node == kit.node]
    try:
        kit.wait(ARRIVES_WITHIN_S, lambda: arrived(kit, nodes) == set(nodes), "lines are missing")
    except Broken as broken:
        missing = [node for node in nodes if node not in arrived(kit, nodes)]
        if not missing:
            raise broken from None
        raise Broken(
            "no line of %s within %d s" % (", ".join(missing), ARRIVES_WITHIN_S),
            "on %s: systemctl status systemd-journal-upload" % missing[0],
        ) from None
    return "a line of each of %d nodes" % len(nodes)
