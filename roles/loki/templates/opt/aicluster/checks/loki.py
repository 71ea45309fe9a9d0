"""A line that every node wrote to its journal a moment ago is found in Loki."""

import time
from typing import Set, Tuple
from urllib.parse import urlencode

from aicluster_verify import Kit, lines_arrived

FLOWS = {"logs": "a line that every node wrote now is found"}


def stored(kit: Kit) -> Set[Tuple[str, str]]:
    """Return node and text of the lines with this run's text."""
    query = urlencode(
        {
            "query": '{job="journal"} |= "aicluster verify %s "' % kit.run_id,
            "start": "%d000000000" % (time.time() - 3600),
            "limit": "1000",
        }
    )
    answer = kit.expect(kit.url("loki", "api", "/loki/api/v1/query_range?" + query)).json()
    streams = answer["data"]["result"]
    return {(one["stream"].get("node", ""), value[1]) for one in streams for value in one["values"]}


def check(kit: Kit) -> str:
    """Name the nodes whose lines are missing."""
    return lines_arrived(kit, lambda: stored(kit))
