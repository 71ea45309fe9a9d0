"""The toolkit on this node runs, reads its inventory and reaches every node; its timer is set."""

import re

from aicluster_verify import CheckError, Kit

TOOLKIT = "/opt/aicluster/bin/aicluster-toolkit"
TIMER = "aicluster-nightly.timer"
ANSWER_LIMIT_S = 60


def check(kit: Kit) -> str:
    """Ask Ansible for its version, and every node for nothing: inventory, key and sudo are in between."""
    version = kit.run([TOOLKIT, "ansible", "--version"], timeout=ANSWER_LIMIT_S).splitlines()[0]
    said = kit.run([TOOLKIT, "ansible", "nodes", "--list-hosts"], timeout=ANSWER_LIMIT_S)
    found = re.search(r"hosts \((\d+)\):", said)
    listed = int(found.group(1)) if found else 0
    if listed != len(kit.cluster):
        raise CheckError(
            "its inventory has %d nodes, the cluster %d" % (listed, len(kit.cluster)),
            "sudo %s ansible nodes --list-hosts" % TOOLKIT,
        )
    let_in(kit)
    state = kit.run(["systemctl", "show", "-p", "ActiveState", "--value", TIMER]).strip()
    if state != "active":
        raise CheckError("%s is %s" % (TIMER, state), "systemctl status %s" % TIMER)
    return "%s; %d nodes accept its key" % (version, listed)


def let_in(kit: Kit) -> None:
    """Run nothing as root on every node; `raw` needs no Python there."""
    ask = [TOOLKIT, "ansible", "nodes", "--forks", "7", "-m", "ansible.builtin.raw", "-a", "true"]
    # The exit code says less than the lines: which node did not do it.
    said = kit.run(["sh", "-c", '"$0" "$@" 2>&1; echo "rc=$?"', *ask], timeout=ANSWER_LIMIT_S)
    names = {node["host"]: node["name"] for node in kit.cluster}
    closed = re.findall(r"^(\S+) \| (?:UNREACHABLE|FAILED)", said, re.M)
    if closed or not said.rstrip().endswith("rc=0"):
        nodes = [names.get(host, host) for host in closed]
        raise CheckError(
            "cannot work on %s; a lost key is brought back by site.yml, run from your machine"
            % (" and ".join(nodes) or said.strip()[-300:]),
            "sudo " + " ".join(ask),
            ["control_access on " + node for node in nodes],
        )
