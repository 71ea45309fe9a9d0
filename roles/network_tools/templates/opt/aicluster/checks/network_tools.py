"""The router and every node answer this node, as `aicluster-net check` sees it."""

import json
from typing import Any, Dict, List, cast

from aicluster_verify import Broken, Kit

NET = "/opt/aicluster/bin/aicluster-net check"


def findings(kit: Kit) -> List[Dict[str, Any]]:
    """Return what the tool found; its exit code only says that something does not answer."""
    said = kit.run(["sh", "-c", 'said=$(%s --json); printf %%s "$said"; [ "$said" ]' % NET])
    return cast("List[Dict[str, Any]]", json.loads(said)["findings"])


def check(kit: Kit) -> str:
    """Run the tool an operator would run; what does not answer is in its words."""
    found = findings(kit)
    silent = [one for one in found if one["state"] == "fail"]
    if silent:
        raise Broken(
            "; ".join("%s does not answer: %s" % (one["what"], one["shown"]) for one in silent),
            NET,
            ["node_exporter on %s" % one["what"] for one in silent if "ssh_ms" in one],
        )
    nodes = [one for one in found if one.get("ssh_ms") is not None]
    slowest = max(nodes, key=lambda one: float(one["ssh_ms"])) if nodes else None
    remarks = ["%s: %s" % (one["what"], one["shown"]) for one in found if one["state"] == "warn"]
    told = "router and %d nodes answer" % len(nodes)
    if slowest:
        told += ", %s last after %.1f ms" % (slowest["what"], slowest["ssh_ms"])
    return "; ".join([told, *remarks])
