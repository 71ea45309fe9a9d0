"""The router and every node answer this node, as `aicluster-net check` sees it."""

import json

from aicluster_verify import Kit

NET = ["/opt/aicluster/bin/aicluster-net", "check", "--json"]


def check(kit: Kit) -> str:
    """Run the tool an operator would run; what does not answer is in its words."""
    findings = json.loads(kit.run(NET))["findings"]
    nodes = [one for one in findings if one.get("ssh_ms") is not None]
    slowest = max(nodes, key=lambda one: float(one["ssh_ms"])) if nodes else None
    remarks = ["%s: %s" % (one["what"], one["shown"]) for one in findings if one["state"] == "warn"]
    told = "router and %d nodes answer" % len(nodes)
    if slowest:
        told += ", %s last after %.1f ms" % (slowest["what"], slowest["ssh_ms"])
    return "; ".join([told, *remarks])
