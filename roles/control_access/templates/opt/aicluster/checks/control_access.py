"""The control node has its lines on this node; whether it gets in is asked by the check of control_node."""

from aicluster_verify import CheckError, Kit

MARKS = (" aicluster-control-node", " aicluster-control-node-backup")
# `;`, not `+`: a file without the line is no failure.
FIND = ["find", "/root", "/home", "-maxdepth", "3", "-path", "*/.ssh/authorized_keys"]
LINES = FIND + ["-exec", "grep", "-hE", "(%s)$" % "|".join(MARKS), "{}", ";"]


def check(kit: Kit) -> str:
    """Compare the lines with the control node's address."""
    control = next(node for node in kit.cluster if "control_node" in node["services"])
    lines = kit.run(LINES).splitlines()
    here = [line for line in lines if line.startswith('from="%s",' % control["address"])]
    if all(any(line.endswith(mark) for line in here) for mark in MARKS):
        return "lets %s in" % control["name"]
    if any(line.startswith("#") for line in lines):
        raise CheckError(
            "%s had no key when this node was set up" % control["name"],
            "ansible-playbook site.yml --limit %s" % control["host"],
        )
    raise CheckError(
        "does not let %s (%s) in" % (control["name"], control["address"]), "ansible-playbook site.yml"
    )
