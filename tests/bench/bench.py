"""`make bench`: what a run with nothing to do costs, next to other ways of checking the same.

Needs a lab in its desired state (`make lab`), and changes nothing on it: each variant is asked in check mode
first, and one that would change something is not measured. What is wanted of files and containers is read
from the nodes; which files, packages, units and probes there are is rendered as the engine does it.
"""

import argparse
import contextlib
import ctypes
import filecmp
import io
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from types import MappingProxyType
from typing import Any, NamedTuple

import docker
import yaml
from docker.errors import DockerException

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests/bench"
WORK = ROOT / ".cache/bench"
# It reads the site as the tests do: from the same folders.
PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
sys.path += [str(ROOT / folder) for folder in PYTEST["pythonpath"]]

TOOLKIT, BOUND = "toolkit: site.yml", "one ssh, one script"
NODES, MODULES = "CPU s nodes", "modules/node"
PR_SET_CHILD_SUBREAPER = 36
# Looking at memory costs CPU that the measured command lacks: at most a tenth of one core.
SAMPLE_S, SAMPLE_SHARE = 0.1, 10
# cgroup v1; v2 with and without systemd.
ACCOUNTS = ("cpuacct/docker/{}/cpuacct.usage", "system.slice/docker-{}.scope/cpu.stat", "docker/{}/cpu.stat")
CONTAINERS = (
    "docker ps -a --filter label=com.docker.compose.project=aicluster"
    " --format '{{.Names}} {{.Label \"aicluster.digest\"}} {{.State}}' | sort"
)
STATUS = "curl -s -o /dev/null -w '%{{http_code}}' {}"


def say(text: str) -> None:
    """Print at once: a round takes minutes."""
    print(text, flush=True)


class BenchError(Exception):
    """Nothing can be measured; the message says why and what to do."""


def on_node(ssh: Sequence[str], script: str) -> bytes:
    """Return what a script run as root prints; its last command must succeed."""
    done = subprocess.run([*ssh, "sudo -n sh -s"], input=script.encode(), capture_output=True, check=False)
    if done.returncode:
        raise BenchError(f"{ssh[-1]}: {done.stderr.decode().strip()}. Run make lab first")
    return done.stdout


def look(node: dict[str, Any]) -> str:
    """Return the script of the lower bound: it prints everything the other variants check."""
    paths = [item["path"] for item in node["files"]]
    folders = [item["path"] for item in node["folders"]]
    lines = [
        "export LC_ALL=C",
        f"sha256sum -- {shlex.join(paths)}",
        f"stat -c '%a %u:%g %n' -- {shlex.join(paths + folders)}",
        f"dpkg-query -W -f '${{Package}} ${{db:Status-Status}}\\n' {shlex.join(node['packages'])}",
        f"systemctl is-enabled {shlex.join(unit['name'] for unit in node['units'])}",
        f"systemctl is-active {shlex.join(unit['name'] for unit in node['units'] if unit['runs'])}",
        *node["asks"],
        "echo end",
    ]
    return "\n".join(lines) + "\n"


def read_files(ssh: Sequence[str], paths: Sequence[str], copies: Path) -> list[dict[str, Any]]:
    """Return path, mode and owner of files and folders of a node; a file's copy is put below `copies`."""
    # Unquoted where a shell finds the home.
    words = " ".join(path if path.startswith("~") else shlex.quote(path) for path in paths)
    packed = io.BytesIO(on_node(ssh, f"tar -cP --no-recursion -f - -- {words}\n"))
    found = []
    with tarfile.open(fileobj=packed) as archive:
        for member in archive:
            item = {
                "path": f"/{member.name.strip('/')}",
                "mode": f"{member.mode & 0o7777:04o}",
                "uid": member.uid,
                "gid": member.gid,
                # As `stat` calls a user of a container, who has no name on the node.
                "user": member.uname or "UNKNOWN",
                "group": member.gname or "UNKNOWN",
            }
            if content := archive.extractfile(member):
                copy = copies / member.name.strip("/")
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content.read())
                item["local"] = str(copy)
            found.append(item)
    return found


def read_node(host: str) -> dict[str, Any]:
    """Return everything a run with nothing to do has to look at on one node."""
    import render  # Ansible's libraries: slow to import

    from aicluster.engine.desired import desired_state

    renderer = render.renderer("lab", host)
    desired, _ = desired_state(renderer)
    names = ("ansible_user", "ansible_ssh_private_key_file", "ansible_ssh_common_args")
    variables = renderer.variables("stack", {})
    user, key, arguments = (str(renderer.value(name, variables)) for name in names)
    options = [*shlex.split(arguments), "-o", "BatchMode=yes", "-o", "ControlPath=none"]
    ssh = ["ssh", "-i", key, *options, f"{user}@{host}"]
    probes = [str(probe) for probe in desired.probes.values()]
    paths = [str(file.path) for file in desired.files] + [probe for probe in probes if "://" not in probe]
    found = read_files(ssh, paths, WORK / "files" / host)
    urls = [probe for probe in probes if "://" in probe]
    asks = [CONTAINERS] * bool(desired.containers) + [STATUS.format(shlex.quote(url)) for url in urls]
    return {
        "ssh": ssh,
        "pyinfra": {
            "_sudo": True,
            "ssh_user": user,
            "ssh_key": key,
            "ssh_known_hosts_file": arguments.partition("UserKnownHostsFile=")[2].split()[0],
        },
        "files": [item for item in found if "local" in item],
        "folders": [item for item in found if "local" not in item],
        "packages": [str(name) for name in desired.packages],
        # One that works when the node starts does not run at other times.
        "units": [{"name": str(unit["name"]), "runs": not unit.get("boot")} for unit in desired.units],
        "compose": bool(desired.containers),
        "urls": urls,
        # For those who ask with commands: what each prints.
        "asks": {command: on_node(ssh, command).decode().strip() for command in asks},
    }


class Variant(NamedTuple):
    """One way of checking all nodes; `rehearsal` are the arguments with which it changes nothing."""

    command: tuple[str, ...]
    rehearsal: tuple[str, ...] = ()
    environment: Mapping[str, str] = MappingProxyType({})
    missing: str = ""
    """Why it cannot run."""


def install() -> str:
    """Install the tools to compare with, unless they are; return why they are not there, or an empty text."""
    lock, tools = HERE / "requirements.lock", WORK / "venv"
    done = tools / lock.name
    if done.exists() and filecmp.cmp(lock, done, shallow=False):
        return ""
    subprocess.run([sys.executable, "-m", "venv", "--clear", tools], check=True)
    pip = [str(tools / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run(
        [*pip, "--require-hashes", "--requirement", str(lock)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        return f"cannot be installed: {last_words(result.stderr)}"
    # Ansible imports mitogen from a folder of its own, or the other packages would lie over those of ours.
    (tools / "mitogen").mkdir()
    for name in ("mitogen", "ansible_mitogen"):
        (tools / "mitogen" / name).symlink_to(next(tools.glob(f"lib/python*/site-packages/{name}")))
    shutil.copy(lock, done)  # last: an interrupted installation is done again
    return ""


def bound_script(nodes: dict[str, dict[str, Any]], folder: Path) -> Path:
    """Write the scripts of the nodes, what they print now, and the one that runs them all at once."""
    folder.mkdir(exist_ok=True)
    lines = [f"cd {shlex.quote(str(folder))}", "found=$(exec 2>&1"]
    for host, node in nodes.items():
        (folder / f"{host}.sh").write_text(look(node))
        (folder / f"{host}.wanted").write_bytes(on_node(node["ssh"], look(node)))
        lines.append(f"{shlex.join([*node['ssh'], 'sudo -n sh -s'])} <{host}.sh | diff {host}.wanted - &")
    lines += ["wait)", '[ -z "$found" ] || { echo "$found"; exit 1; }']
    script = folder / "all.sh"
    script.write_text("\n".join(lines) + "\n")
    return script


def make_variants(nodes: dict[str, dict[str, Any]]) -> dict[str, Variant]:
    """Return all variants by title, and write what they read."""
    state, hosts = WORK / "nodes.yml", WORK / "inventory.py"
    state.write_text(yaml.safe_dump({"bench_nodes": nodes}))
    hosts.write_text(
        f"nodes = {[(host, node['pyinfra'] | {'node': node}) for host, node in nodes.items()]!r}\n"
    )
    missing, mitogen = install(), WORK / "venv/mitogen"
    # Where it makes its folders: one that every node has, so that none is left behind.
    ordinary = {"ANSIBLE_REMOTE_TMP": "/tmp"}
    under_mitogen = {
        "PYTHONPATH": str(mitogen),
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(mitogen / "ansible_mitogen/plugins/strategy"),
    }
    playbook = (str(ROOT / ".venv/bin/ansible-playbook"), "-i", "inventory/groups.yml", "-i", "inventory/lab")
    tasks = (*playbook, str(HERE / "ordinary.yml"), "-e", f"@{state}")
    deploy = (str(WORK / "venv/bin/pyinfra"), "-y", str(hosts), str(HERE / "pyinfra_deploy.py"))
    check = ("--check", "-vvv")
    return {
        TOOLKIT: Variant((*playbook, "site.yml"), check),
        "ordinary tasks": Variant(tasks, check, ordinary),
        "ordinary tasks, mitogen": Variant(tasks, check, ordinary | under_mitogen, missing),
        "pyinfra": Variant(deploy, ("--dry",), missing=missing),
        BOUND: Variant(("sh", str(bound_script(nodes, WORK / "bound")))),
    }


class Cost(NamedTuple):
    """What one run cost, under the headings of the table, and why it does not count."""

    figures: dict[str, float]
    problem: str
    output: str


def accounts_of_nodes() -> list[Path]:
    """Return the CPU accounts of the lab's node containers."""
    from aicluster_lab.containers import ROOT_LABEL
    from aicluster_lab.registry import CONTAINER as REGISTRY

    try:
        ours = docker.from_env().containers.list(filters={"label": f"{ROOT_LABEL}={ROOT}"})
    except DockerException as error:
        raise BenchError(f"no Docker Engine answers ({error}), so no lab is running: make lab") from error
    nodes = [container.id for container in ours if container.name != REGISTRY]
    paths = [Path("/sys/fs/cgroup", account.format(node)) for node in nodes for account in ACCOUNTS]
    accounts = [path for path in paths if path.is_file()]
    if not nodes or len(accounts) != len(nodes):
        raise BenchError(f"{len(nodes)} nodes of this lab run, {len(accounts)} have a CPU account: make lab")
    return accounts


def cpu_seconds(text: str) -> float:
    """Return seconds from the text of cpuacct.usage (nanoseconds) or cpu.stat (`usage_usec` first)."""
    return int(text) / 1e9 if text.strip().isdigit() else int(text.split()[1]) / 1e6


def descendants() -> set[int]:
    """Return all processes below this one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}


def memory_mb(pids: set[int]) -> float:
    """Return the anonymous memory of processes; what they share is divided among them."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int((rollup.partition("Pss_Anon:")[2].split() or ["0"])[0])
    return total / 1024


def end_descendants() -> None:
    """End what a command left running, such as shared connections, and wait for it, so that it is counted."""
    while left := descendants():
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.waitpid(-1, 0)


def environment() -> dict[str, str]:
    """Return a plain user's environment: the project's ansible.cfg, nothing else inherited."""
    prefixes = ("ANSIBLE_", "MOLECULE_", "PYTHON", "PYINFRA_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    return kept | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}


def last_words(output: str) -> str:
    """Return what failed, or else the last lines that are not empty, as one."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    failures = [line for line in lines if line.startswith(("fatal:", "[ERROR]"))]
    return " | ".join((failures or lines)[-3:])[-400:]


def verdict(code: int, output: str) -> str:
    """Return why a run was not one with nothing to do, or an empty text."""
    if code:
        return f"ended with {code}: {last_words(output)}"
    changed = re.findall(r"^(\S+) +: ok=\d+ +(changed=[1-9]\d*)", output, re.MULTILINE)
    return ", ".join(" ".join(one) for one in changed)


def run(title: str, variant: Variant, accounts: Sequence[Path], more: Sequence[str] = ()) -> Cost:
    """Run a variant to its end, from closed connections, and return what it cost."""

    def spent() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime, sum(cpu_seconds(path.read_text()) for path in accounts)

    log = WORK / f"{title}.log"
    # Sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets, log.open("w") as output:
        here, there = spent()
        peak, before, began = 0.0, set[int](), time.monotonic()
        process = subprocess.Popen(
            [*variant.command, *more],
            cwd=ROOT,
            env=environment() | {**variant.environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": sockets},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        while process.poll() is None:
            looked = time.process_time()
            now = descendants()
            # Between vfork and exec a child shows its parent's memory as its own: not counted that young.
            peak = max(peak, memory_mb(now & before))
            before = now
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(SAMPLE_S, SAMPLE_SHARE * (time.process_time() - looked)))
        wall, there = time.monotonic() - began, spent()[1] - there
        end_descendants()
    figures = {"wall s": wall, "CPU s here": spent()[0] - here, NODES: there, "MB here": peak}
    text = log.read_text(errors="replace")
    return Cost(figures, verdict(process.returncode, text), text)


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return medians by title, each with its ratio to the lower bound where that was measured."""
    bound = rows.get(BOUND, {})
    lines = [f"{'':<24}" + "".join(f"{heading:>18}" for heading in rows[TOOLKIT])]
    for title, figures in rows.items():
        cells = [
            f"{value:.1f}" + (f" ({value / bound[heading]:.1f}x)" if bound.get(heading) else "")
            for heading, value in figures.items()
        ]
        lines.append(f"{title:<24}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def compare(rounds: int) -> None:
    """Measure all variants in turn, `rounds` times, and print the table."""
    import render

    accounts = accounts_of_nodes()
    WORK.mkdir(parents=True, exist_ok=True)
    WORK.chmod(0o700)  # the copied files hold the lab's secrets
    hosts = [str(host.name) for host in render.site("lab").inventory.list_hosts("nodes")]
    nodes = {host: read_node(host) for host in hosts}
    files = sum(len(node["files"]) for node in nodes.values())
    variants, modules = make_variants(nodes), {}
    say(f"{len(nodes)} nodes, {files} files; once each, in check mode:")
    found: dict[str, list[dict[str, float]]] = {}
    for title, variant in variants.items():
        cost = Cost({}, variant.missing, "")
        if not variant.missing:
            cost = run(title, variant, accounts, variant.rehearsal)
        say(f"  {title} {cost.problem and f'is not measured: {cost.problem}'}")
        if cost.problem and title == TOOLKIT:
            raise BenchError(
                "the lab is not in its desired state, and nothing was changed. Run make lab first"
            )
        if not cost.problem:
            found[title] = []
        # Each module is one command of ssh that becomes root; mitogen has channels of its own.
        if executed := re.findall(r"^<.*> SSH: EXEC .*BECOME-SUCCESS", cost.output, re.MULTILINE):
            modules[variant.command] = len(executed) / len(nodes)
    for turn in range(1, rounds + 1):
        idle = run("idle", Variant(("sleep", "15")), accounts).figures
        say(f"round {turn} of {rounds}:")
        for title, of_variant in found.items():
            cost = run(title, variants[title], accounts)
            say(f"  {title}: {cost.figures['wall s']:.1f} s {cost.problem}")
            if cost.problem and title == TOOLKIT:
                raise BenchError("the toolkit's run was not one with nothing to do")
            if not cost.problem:
                # What the nodes do anyway is taken off.
                own = cost.figures[NODES] - idle[NODES] * cost.figures["wall s"] / idle["wall s"]
                of_variant.append(cost.figures | {NODES: max(own, 0)})
    say(f"\nNothing to do; medians of {rounds} interleaved rounds, cold connections (times the lower bound)")
    rows = {}
    for title, of_variant in found.items():
        if of_variant:
            rows[title] = {name: median(figures[name] for figures in of_variant) for name in of_variant[0]}
            if executed_per_node := modules.get(variants[title].command):
                rows[title][MODULES] = executed_per_node
    say(table(rows))


def main(arguments: list[str]) -> int:
    """Read the command line; returns the exit code."""
    from aicluster_lab.lock import held

    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("--rounds", type=int, choices=range(1, 100), metavar="N", default=3)
    options = parser.parse_args(arguments)
    # Processes that outlive their parent, such as shared connections, become ours: they count, too.
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        with held(ROOT):
            compare(options.rounds)
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
