"""A line that every node wrote to its journal a moment ago is found in the log store."""

import json
from typing import List, Set
from urllib.parse import urlencode

from aicluster_verify import Broken, Kit

FLOWS = {"logs": "a line that every node wrote now is found"}
ARRIVES_WITHIN_S = 30


def arrived(kit: Kit, nodes: List[str]) -> Set[str]:
    """Return the nodes whose line of this run is stored."""
    query = urlencode({"query": '_time:1h "aicluster verify %s" | fields _msg' % kit.run_id, "limit": "1000"})
    answer = kit.expect(kit.url("victorialogs", "api", "/select/logsql/query?" + query))
    found = {json.loads(line).get("_msg", "") for line in answer.text.splitlines()}
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
