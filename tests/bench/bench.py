"""`make bench`: what a run with nothing to do costs: time, and CPU of this machine and of the nodes.

Needs a lab in its desired state (`make lab`), and changes nothing on it: the toolkit is asked in check mode
first, and a run that would change something ends it.
"""

import contextlib
import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import docker
from aicluster_lab.ask import environment
from aicluster_lab.containers import ROOT_LABEL
from aicluster_lab.lock import held
from aicluster_lab.registry import CONTAINER as REGISTRY
from aicluster_lab.sitedata import INVENTORY

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache/bench"
PR_SET_CHILD_SUBREAPER = 36
# cgroup v1; v2 with and without systemd.
ACCOUNTS = ("cpuacct/docker/{}/cpuacct.usage", "system.slice/docker-{}.scope/cpu.stat", "docker/{}/cpu.stat")


def cpu_of_nodes() -> float:
    """Return the CPU seconds of the lab's nodes: cpuacct.usage in ns, cpu.stat with `usage_usec` first."""
    ours = docker.from_env().containers.list(filters={"label": f"{ROOT_LABEL}={ROOT}"})
    nodes = [str(container.id) for container in ours if container.name != REGISTRY]
    paths = [Path("/sys/fs/cgroup", account.format(node)) for node in nodes for account in ACCOUNTS]
    texts = [path.read_text() for path in paths if path.is_file()]
    return sum(int(text) / 1e9 if text.strip().isdigit() else int(text.split()[1]) / 1e6 for text in texts)


def end_descendants() -> None:
    """End what a command left running, such as shared connections, and wait for it, so that it is counted."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for pid in map(int, left):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def run(title: str, command: Sequence[str]) -> list[float]:
    """Run a command to its end, from closed connections: seconds, CPU seconds here and on the nodes.

    Ends the program where the run was not one with nothing to do.
    """

    def spent() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime, cpu_of_nodes()

    log = WORK / f"{title}.log"
    # Sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets, log.open("w") as output:
        told = environment(ROOT) | {"ANSIBLE_SSH_CONTROL_PATH_DIR": sockets}
        (here, there), began = spent(), time.monotonic()
        done = subprocess.run(
            command, cwd=ROOT, env=told,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        wall, there = time.monotonic() - began, spent()[1] - there
        end_descendants()
    if done.returncode or re.search(r"^\S+ +: ok=\d+ +changed=[1-9]", log.read_text(), re.MULTILINE):
        sys.exit(f"bench: {title} failed or would change something: {log}. Run make lab first")
    return [wall, spent()[0] - here, there]


def main(rounds: int) -> None:
    """Measure `rounds` runs of site.yml, and print their medians."""
    # Processes that outlive their parent, such as shared connections, become ours: they count, too.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    WORK.mkdir(parents=True, exist_ok=True)
    command = [str(ROOT / ".venv/bin/ansible-playbook"), *INVENTORY, "site.yml"]
    with held(ROOT):
        run("check", [*command, "--check"])
        found = []
        for turn in range(1, rounds + 1):
            idle_s, _, idle = run("idle", ["sleep", "15"])
            wall, here, there = run("site", command)
            # What the nodes do anyway is taken off.
            found.append((wall, here, there - idle * wall / idle_s))
            print(f"round {turn} of {rounds}: {wall:.1f} s", flush=True)
    for name, column in zip(("wall s", "CPU s here", "CPU s nodes"), zip(*found, strict=True), strict=True):
        print(f"{name:<12}{median(column):>8.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)
