"""The control node has its line on this node; whether it gets in is asked by the check of control_node."""

from aicluster_verify import CheckError, Kit

MARK = " aicluster-control-node"
# `;`, not `+`: a file without the line is no failure.
FIND = ["find", "/root", "/home", "-maxdepth", "3", "-path", "*/.ssh/authorized_keys"]
LINES = FIND + ["-exec", "grep", "-h", MARK + "$", "{}", ";"]


def check(kit: Kit) -> str:
    """Compare the line with the control node's address."""
    control = next(node for node in kit.cluster if "control_node" in node["services"])
    lines = kit.run(LINES).splitlines()
    if any(line.startswith('from="%s",' % control["address"]) for line in lines):
        return "lets %s in" % control["name"]
    if any(line.startswith("#") for line in lines):
        raise CheckError(
            "%s had no key when this node was set up" % control["name"],
            "ansible-playbook site.yml --limit %s" % control["host"],
        )
    raise CheckError(
        "does not let %s (%s) in" % (control["name"], control["address"]),
        "ansible-playbook site.yml",
    )
