"""A line that every node wrote to its journal a moment ago is found in the log store."""

import json
from typing import List, Set, Tuple
from urllib.parse import urlencode

from aicluster_verify import CheckError, Kit, journal_line

FLOWS = {"logs": "a line that every node has just written is found"}
ARRIVED_WITHIN_S = 30


def stored(kit: Kit) -> Set[Tuple[str, str]]:
    """Return (name of the node they are stored under, line) of the lines with this run's text."""
    wanted = '_time:1h "aicluster verify %s" | fields node, _msg' % kit.run_id
    query = urlencode({"query": wanted, "limit": "1000"})
    answer = kit.expect(kit.url("victorialogs", "api", "/select/logsql/query?" + query))
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return {(line.get("node", ""), line.get("_msg", "")) for line in lines}


def check(kit: Kit) -> str:
    """Wait until the store has what every node of this run wrote to its journal."""
    shipping = {node["name"] for node in kit.cluster if "log_shipper" in node["services"]}
    nodes = [node for node in kit.together if node in shipping]

    def missing() -> List[str]:
        lines = stored(kit)
        return [node for node in nodes if (node, journal_line(kit.run_id, node)) not in lines]

    try:
        kit.wait(ARRIVED_WITHIN_S, lambda: not missing(), "lines are missing")
    except CheckError as failure:
        late = missing()
        if not late:
            raise failure from None
        seen = "no line of %s within %d s" % (", ".join(late), ARRIVED_WITHIN_S)
        # Without a line of anybody it is the store's own fault.
        if len(late) == len(nodes):
            raise CheckError(seen) from None
        senders = ["log_shipper on " + node for node in late]
        raise CheckError(seen, "on %s: systemctl status systemd-journal-upload" % late[0], senders) from None
    return "a line of each of %d nodes" % len(nodes)
