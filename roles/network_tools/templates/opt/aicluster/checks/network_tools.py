"""The router and every other node answer this node, as `aicluster-net check` sees it."""

from aicluster_verify import CheckError, Kit

NET = "/opt/aicluster/bin/aicluster-net check"


def check(kit: Kit) -> str:
    """Run the tool an operator would run; what does not answer is in its words."""
    # Exit code 1 only says that something does not answer.
    said = kit.run(["sh", "-c", "%s || [ $? -eq 1 ]" % NET])
    rows = [line.split(None, 2) for line in said.splitlines()]
    silent = [(name, shown) for state, name, shown in rows if state == "fail"]
    if silent or not rows:
        raise CheckError(
            "; ".join("%s does not answer: %s" % row for row in silent) or "aicluster-net prints nothing",
            NET,
            ["node_exporter on %s" % name for name, _ in silent if name != "router"],
        )
    remarks = ["%s: %s" % (name, shown) for state, name, shown in rows if state == "warn"]
    return "; ".join(["router and %d nodes answer" % (len(rows) - 1), *remarks])
