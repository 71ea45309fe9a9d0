"""The toolkit here reads its inventory; every node accepts its key, which is locked; its timer is set."""

import json
import os
import re

from aicluster_verify import CheckError, Kit

TOOLKIT = "/opt/aicluster/bin/aicluster-toolkit"
WANTED = os.path.splitext(__file__)[0] + ".json"
KEY = "/var/lib/aicluster-toolkit/.ssh/id_ed25519"
# Succeeds where the key opens without a passphrase.
IS_OPEN = [
    "sh",
    "-c",
    "ssh-keygen -y -P '' -f %s </dev/null >/dev/null 2>&1 && echo open || echo locked" % KEY,
]
# A node says whether it accepts a key before the key is used, so nobody has to unlock it.
OFFER = ["runuser", "-u", "aicluster", "--", "ssh", "-v", "-i", KEY]
for option in (
    "BatchMode=yes",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "ControlPath=none",
    "ConnectTimeout=10",
):
    OFFER += ["-o", option]
TIMER = "aicluster-nightly.timer"


def check(kit: Kit) -> str:
    """Ask for the inventory, then offer the key to every node."""
    if kit.run(IS_OPEN).strip() == "open":
        raise CheckError(
            "%s has no passphrase, and is root on every node" % KEY, "ansible-playbook playbooks/utility.yml"
        )
    said = kit.run([TOOLKIT, "ansible-inventory", "--graph", "nodes"])
    found = set(re.findall(r"\|--([^@\s]\S*)", said))
    if found != {node["host"] for node in kit.cluster}:
        raise CheckError(
            "its inventory has %d nodes, the cluster %d" % (len(found), len(kit.cluster)),
            "sudo %s ansible-inventory --graph nodes" % TOOLKIT,
        )
    with open(WANTED) as handle:
        nodes = json.load(handle)
    closed = {}
    for node in nodes:
        where = ["-p", str(node["port"]), "-l", node["login"], node["address"], "true"]
        answer = kit.run(["sh", "-c", '"$0" "$@" 2>&1 || :', *OFFER, *where])
        if "Server accepts key" not in answer:
            closed[node["name"]] = " ".join(
                [line for line in answer.splitlines() if "debug1" not in line][-1:]
            )
    if closed:
        raise CheckError(
            "cannot work on %s (%s); a lost key is brought back by site.yml, run from your machine"
            % (" and ".join(closed), list(closed.values())[0]),
            "sudo %s ansible nodes -m ansible.builtin.ping" % TOOLKIT,
            ["control_access on " + name for name in closed],
        )
    state = kit.run(["systemctl", "show", "-p", "ActiveState", "--value", TIMER]).strip()
    if state != "active":
        raise CheckError("%s is %s" % (TIMER, state), "systemctl status %s" % TIMER)
    return "%d nodes accept its key, which is locked" % len(nodes)
