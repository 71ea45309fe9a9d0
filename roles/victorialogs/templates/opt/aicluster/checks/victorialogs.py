"""A line that every node wrote to its journal a moment ago is found in the log store."""

import json
from typing import Set
from urllib.parse import urlencode

from aicluster_verify import Kit, lines_arrived

FLOWS = {"logs": "a line that every node wrote now is found"}


def stored(kit: Kit) -> Set[str]:
    """Return the lines with this run's text."""
    query = urlencode({"query": '_time:1h "aicluster verify %s" | fields _msg' % kit.run_id, "limit": "1000"})
    answer = kit.expect(kit.url("victorialogs", "api", "/select/logsql/query?" + query))
    return {json.loads(line).get("_msg", "") for line in answer.text.splitlines()}


def check(kit: Kit) -> str:
    """Name the nodes whose lines are missing."""
    return lines_arrived(kit, lambda: stored(kit))
