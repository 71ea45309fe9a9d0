"""The toolkit on this node runs, reads its inventory and reaches every node; its timer is set."""

import re
from typing import Dict

from aicluster_verify import CheckError, Kit

# Runs nothing as root on every node: inventory, key and sudo are in between. `raw` needs no Python there.
ASK = [
    "/opt/aicluster/bin/aicluster-toolkit",
    *("ansible", "nodes", "--forks", "7", "-m", "ansible.builtin.raw", "-a", "true"),
]
TIMER = "aicluster-nightly.timer"


def check(kit: Kit) -> str:
    """Ask every node once: a start of Ansible takes a small board seconds."""
    # The exit code says less than the lines: which node did not do it.
    said = kit.run(["sh", "-c", '"$0" "$@" 2>&1; echo "rc=$?"', *ASK])
    answers: Dict[str, str] = dict(re.findall(r"^(\S+) \| ([A-Z]+)", said, re.M))
    names = {node["host"]: node["name"] for node in kit.cluster}
    closed = [names.get(host, host) for host, word in answers.items() if word in ("UNREACHABLE", "FAILED")]
    if closed or not said.rstrip().endswith("rc=0"):
        raise CheckError(
            "cannot work on %s; a lost key is brought back by site.yml, run from your machine"
            % (" and ".join(closed) or said.strip()[-300:]),
            "sudo " + " ".join(ASK),
            ["control_access on " + name for name in closed],
        )
    if set(answers) != set(names):
        raise CheckError(
            "its inventory has %d nodes, the cluster %d" % (len(answers), len(names)), "sudo " + " ".join(ASK)
        )
    state = kit.run(["systemctl", "show", "-p", "ActiveState", "--value", TIMER]).strip()
    if state != "active":
        raise CheckError("%s is %s" % (TIMER, state), "systemctl status %s" % TIMER)
    return "%d nodes accept its key" % len(answers)
