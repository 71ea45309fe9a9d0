"""A line that every node wrote to its journal a moment ago is found in the log store."""

import json
from typing import Set, Tuple
from urllib.parse import urlencode

from aicluster_verify import Kit, lines_arrived

FLOWS = {"logs": "a line that every node wrote now is found"}


def stored(kit: Kit) -> Set[Tuple[str, str]]:
    """Return node and text of the lines with this run's text."""
    wanted = '_time:1h "aicluster verify %s" | fields node, _msg' % kit.run_id
    query = urlencode({"query": wanted, "limit": "1000"})
    answer = kit.expect(kit.url("victorialogs", "api", "/select/logsql/query?" + query))
    lines = [json.loads(line) for line in answer.text.splitlines()]
    return {(line.get("node", ""), line.get("_msg", "")) for line in lines}


def check(kit: Kit) -> str:
    """Name the nodes whose lines are missing."""
    return lines_arrived(kit, lambda: stored(kit))
