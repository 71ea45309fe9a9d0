"""`make bench`: what a run with nothing to do costs, next to the least that checks the same.

Needs a lab in its desired state (`make lab`), and changes nothing on it: the toolkit is asked in check mode
first, and a run that would change something ends it. What is wanted is rendered as the engine does it.
"""

import contextlib
import ctypes
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import docker
import render
from aicluster_lab.ask import environment
from aicluster_lab.containers import ROOT_LABEL
from aicluster_lab.lock import held
from aicluster_lab.registry import CONTAINER as REGISTRY

from aicluster.engine.desired import desired_state

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".cache/bench"
BOUND = "one ssh, one script"
PR_SET_CHILD_SUBREAPER = 36
# cgroup v1; v2 with and without systemd.
ACCOUNTS = ("cpuacct/docker/{}/cpuacct.usage", "system.slice/docker-{}.scope/cpu.stat", "docker/{}/cpu.stat")
CONTAINERS = (
    "docker ps -a --filter label=com.docker.compose.project=aicluster"
    " --format '{{.Names}} {{.Label \"aicluster.digest\"}} {{.State}}' | sort"
)
OPTIONS = ("-o", "BatchMode=yes", "-o", "ControlPath=none")
STATUS = "curl -s -o /dev/null -w '%{{http_code}}' {}"


def on_node(ssh: Sequence[str], script: str) -> bytes:
    """Return what a script run as root prints; its last command must succeed."""
    command = [*ssh, "sudo -n sh -s"]
    return subprocess.run(command, input=script.encode(), stdout=subprocess.PIPE, check=True).stdout


def look(node: dict[str, Any]) -> str:
    """Return the script of the lower bound: it prints everything that the toolkit checks."""
    files = shlex.join(node["files"])
    # Unquoted where a shell finds the home.
    probes = " ".join(path if path.startswith("~") else shlex.quote(path) for path in node["paths"])
    lines = [
        "export LC_ALL=C",
        f"sha256sum -- {files}",
        f"stat -c '%a %u:%g %n' -- {files} {probes}",
        f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {shlex.join(node['packages'])}",
        f"systemctl is-enabled {shlex.join(unit['name'] for unit in node['units'])}",
        f"systemctl is-active {shlex.join(unit['name'] for unit in node['units'] if unit['runs'])}",
        *[CONTAINERS] * node["compose"],
        *(STATUS.format(shlex.quote(url)) for url in node["urls"]),
        "echo end",
    ]
    return "\n".join(lines) + "\n"


def read_node(host: str) -> dict[str, Any]:
    """Return everything a run with nothing to do has to look at on one node."""
    renderer = render.renderer("lab", host)
    desired, _ = desired_state(renderer)
    names = ("ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args")
    user, key, arguments = (str(renderer.value(name, renderer.variables("stack", {}))) for name in names)
    probes = [str(probe) for probe in desired.probes.values()]
    return {
        "ssh": ["ssh", "-i", key, *shlex.split(arguments), *OPTIONS, f"{user}@{host}"],
        "files": [str(file.path) for file in desired.files],
        "paths": [probe for probe in probes if "://" not in probe],
        "packages": [str(name) for name in desired.packages],
        # One that works when the node starts does not run at other times.
        "units": [{"name": str(unit["name"]), "runs": not unit.get("boot")} for unit in desired.units],
        "compose": bool(desired.containers),
        "urls": [probe for probe in probes if "://" in probe],
    }


def bound_script(nodes: dict[str, dict[str, Any]], folder: Path) -> Path:
    """Write the scripts of the nodes, what they print now, and the one that runs them all at once."""
    folder.mkdir(exist_ok=True)
    lines = [f"cd {shlex.quote(str(folder))}", "found=$(exec 2>&1"]
    for host, node in nodes.items():
        (folder / f"{host}.sh").write_text(look(node))
        (folder / f"{host}.wanted").write_bytes(on_node(node["ssh"], look(node)))
        lines.append(f"{shlex.join([*node['ssh'], 'sudo -n sh -s'])} <{host}.sh | diff {host}.wanted - &")
    lines += ["wait)", '[ -z "$found" ] || { echo "$found"; exit 1; }']
    (folder / "all.sh").write_text("\n".join(lines) + "\n")
    return folder / "all.sh"


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
    """Run a variant to its end, from closed connections: seconds, CPU seconds here and on the nodes.

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
    """Measure all variants in turn, `rounds` times, and print their medians with their ratio to the bound."""
    # Processes that outlive their parent, such as shared connections, become ours: they count, too.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    WORK.mkdir(parents=True, exist_ok=True)
    with held(ROOT):
        hosts = [str(host.name) for host in render.site("lab").inventory.list_hosts("nodes")]
        bound = bound_script({host: read_node(host) for host in hosts}, WORK / "bound")
        playbook = (
            str(ROOT / ".venv/bin/ansible-playbook"),
            "-i",
            "inventory/groups.yml",
            "-i",
            "inventory/lab",
        )
        variants = {"toolkit: site.yml": (*playbook, "site.yml"), BOUND: ("sh", str(bound))}
        for title, command in variants.items():
            run(title, command if title == BOUND else [*command, "--check"])
        found: dict[str, list[list[float]]] = {title: [] for title in variants}
        for turn in range(1, rounds + 1):
            idle_s, _, idle = run("idle", ["sleep", "15"])
            for title, command in variants.items():
                wall, here, there = run(title, command)
                # What the nodes do anyway is taken off.
                found[title].append([wall, here, max(there - idle * wall / idle_s, 0.01)])
                print(f"round {turn} of {rounds}: {title} {wall:.1f} s", flush=True)
    print(f"\n{'':<24}" + "".join(f"{name:>18}" for name in ("wall s", "CPU s here", "CPU s nodes")))
    least = [median(column) for column in zip(*found[BOUND], strict=True)]
    for title, costs in found.items():
        figures = zip((median(column) for column in zip(*costs, strict=True)), least, strict=True)
        print(f"{title:<24}" + "".join(f"{f'{one:.1f} ({one / of:.1f}x)':>18}" for one, of in figures))


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 3)
