"""`make bench`: what a run without changes costs, next to other ways of checking the same desired state.

Needs a running lab in its desired state (`make lab`). `--converge` makes the lab anew and measures the
first run of site.yml on bare nodes, images cached.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import docker
from aicluster_bench import ROOT, bound, desired, measure, ordinary, report, tools
from aicluster_bench.variants import (
    INVENTORY,
    Counts,
    Variant,
    base_environment,
    count_lines,
    judge_ansible,
    make_variants,
    operations,
)
from aicluster_lab.containers import ROOT_LABEL
from aicluster_lab.lock import held
from aicluster_lab.registry import CONTAINER as REGISTRY
from docker.errors import DockerException

WORK = ROOT / ".cache/bench"
IDLE_S = 15.0


class BenchError(Exception):
    """Nothing can be measured; the message says why and what to do."""


def say(text: str) -> None:
    """Print at once: a round takes minutes."""
    print(text, flush=True)


def accounts_of_nodes() -> list[Path]:
    """Return the CPU accounts of the lab's node containers."""
    try:
        client = docker.from_env()
        ours = client.containers.list(filters={"label": f"{ROOT_LABEL}={ROOT}"})
        found = [container for container in ours if container.name != REGISTRY]
    except DockerException as error:
        raise BenchError(f"no Docker Engine answers ({error}), so no lab is running: make lab") from error
    if not found:
        raise BenchError("no lab of this checkout is running: make lab")
    accounts = []
    for container in found:
        membership = Path(f"/proc/{container.attrs['State']['Pid']}/cgroup").read_text()
        account = measure.account_path(membership, str(container.id))
        if account is None or not account.is_file():
            raise BenchError(
                f"{container.name}: no CPU account below /sys/fs/cgroup; cgroup says:\n{membership}"
            )
        accounts.append(account)
    return accounts


def execute(variant: Variant, accounts: Sequence[Path], log: Path, counts: Path | None) -> measure.Cost:
    """Run a variant once, from closed connections, counting into `counts` or not at all."""
    environment = base_environment(ROOT) | variant.environment
    if variant.is_ansible and counts:
        environment |= {
            "ANSIBLE_CALLBACK_PLUGINS": str(ROOT / "tests/bench/callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "bench_counts",
            "BENCH_COUNTS": str(counts),
        }
    # Connections another run left open would be a present; and their sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="bench-") as sockets:
        environment["ANSIBLE_SSH_CONTROL_PATH_DIR"] = sockets
        return measure.run(variant.command, environment, ROOT, log, accounts)


def rehearse(variant: Variant, accounts: Sequence[Path]) -> tuple[str, Counts]:
    """Run once to warm caches and to count; return why the variant cannot be measured, and the counts."""
    counts = WORK / f"{variant.key}.counts"
    counts.unlink(missing_ok=True)
    cost = execute(variant, accounts, WORK / f"{variant.key}.log", counts)
    say(f"  {variant.title}: {cost.wall_s:.1f} s")
    if variant.is_ansible:
        counted = count_lines(counts.read_text() if counts.exists() else "")
    else:
        counted = operations(cost.output)
    return variant.judge(cost), counted


def require_desired_state() -> None:
    """Refuse a lab that is not in its desired state: the rehearsals would bring it there.

    Somebody may be testing just that. Asks in check mode, which changes nothing.
    """
    command = [str(ROOT / ".venv/bin/ansible-playbook"), *INVENTORY, "site.yml", "--check"]
    asked = subprocess.run(
        command, cwd=ROOT, env=base_environment(ROOT), capture_output=True, text=True, check=False
    )
    answer = measure.Cost(0, 0, 0, 0, asked.returncode, asked.stdout + asked.stderr)
    if problem := judge_ansible(answer, nodes=1):
        raise BenchError(f"{problem}. Nothing was measured or changed. Run make lab first, then make bench")


def prepare() -> tuple[list[Variant], int]:
    """Install the tools, export the desired state, write what the variants run."""
    WORK.mkdir(parents=True, exist_ok=True)
    WORK.chmod(0o700)  # the exported files hold the lab's secrets
    environment = tools.install(ROOT / "tests/bench/requirements.lock", WORK)
    mitogen = tools.mitogen_path(environment, WORK / "mitogen")
    (WORK / "site").mkdir(exist_ok=True)
    nodes = desired.export(WORK / "site")
    ordinary.write_playbook(nodes, WORK / "ordinary")
    scripts = bound.write_scripts(nodes, WORK / "bound")
    files = sum(len(node.files) for node in nodes)
    containers = sum(len(node.containers) for node in nodes)
    say(f"desired state of {len(nodes)} nodes: {files} files, {containers} containers")
    return make_variants(
        ROOT, WORK, tools=environment, mitogen=mitogen, scripts=scripts, nodes=len(nodes)
    ), len(nodes)


def compare(rounds: int, only: Sequence[str]) -> int:
    """Measure all variants in turn, `rounds` times; returns the exit code."""
    accounts = accounts_of_nodes()
    require_desired_state()
    variants, nodes = prepare()
    variants = [variant for variant in variants if not only or variant.key in only]
    say("once each, to warm caches and to count:")
    problems: dict[str, str] = {}
    counts: dict[str, Counts] = {}
    for variant in variants:
        problems[variant.key], counts[variant.key] = rehearse(variant, accounts)
    costs: dict[str, list[measure.Cost]] = {variant.key: [] for variant in variants}
    idle, spoilt = [], {}
    for turn in range(1, rounds + 1):
        idle.append(measure.idle_rate(accounts, IDLE_S))
        say(f"round {turn} of {rounds}; idle nodes use {idle[-1]:.2f} CPU s per s")
        for variant in variants:
            if problems[variant.key]:
                continue
            cost = execute(variant, accounts, WORK / f"{variant.key}.log", None)
            problem = variant.judge(cost)
            say(
                f"  {variant.title}: {cost.wall_s:.1f} s"
                + (f", does not count: {problem}" if problem else "")
            )
            if problem:
                spoilt[variant.key] = problem
            else:
                costs[variant.key].append(cost)
    rate = sum(idle) / len(idle)
    rows = {}
    for variant in variants:
        if problem := problems[variant.key] or ("" if costs[variant.key] else spoilt[variant.key]):
            rows[variant.key] = report.Row(variant.title, problem=problem)
            continue
        modules, tasks = counts[variant.key].modules, counts[variant.key].tasks
        per_node = None if modules is None else modules / nodes
        rows[variant.key] = report.summary(variant.title, costs[variant.key], rate, per_node, tasks)
    say(f"\n{nodes} nodes, nothing to change; medians of {rounds} interleaved rounds, cold connections")
    say(report.table(rows))
    for line in report.aims(rows):
        say(line)
    latest = WORK / "latest.json"
    latest.write_text(json.dumps(report.as_data(rows, costs, rate), indent=1) + "\n")
    say(f"written to {latest.relative_to(ROOT)}")
    if any(problems.values()) or spoilt:
        say("Some runs were no runs without changes: is the lab in its desired state, and nobody else at it?")
        return 1
    return 0


def converge() -> int:
    """Make the lab anew and measure the first run of site.yml; returns its exit code."""
    lab = [sys.executable, str(ROOT / "lab/lab.py")]
    for command in ("down", "nodes"):
        subprocess.run([*lab, command], cwd=ROOT, check=True)
    measure.adopt_orphans()  # not before: the engine the lab starts is no part of the run
    WORK.mkdir(parents=True, exist_ok=True)
    playbook = str(ROOT / ".venv/bin/ansible-playbook")
    first = Variant("converge", "first run on bare nodes", (playbook, *INVENTORY, "site.yml"), lambda _: "")
    cost = execute(first, accounts_of_nodes(), WORK / "converge.log", None)
    say(report.table({"converge": report.summary(first.title, [cost], 0.0, None, None)}))
    if cost.code:
        say(f"site.yml ended with {cost.code}; its output is in {WORK / 'converge.log'}")
        return cost.code
    # Not measured: the chat request and the card, so that the lab is whole again.
    return subprocess.run([*lab, "up"], cwd=ROOT, check=False).returncode


def positive(text: str) -> int:
    """Return a number of rounds; raises ValueError for less than one."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def main(arguments: list[str]) -> int:
    """Read the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=3, help="rounds to take the medians of")
    parser.add_argument("--only", default="", help="comma separated: toolkit,ordinary,mitogen,pyinfra,bound")
    parser.add_argument(
        "--converge", action="store_true", help="destroys the lab, makes it anew, measures that"
    )
    options = parser.parse_args(arguments)
    try:
        if options.converge:
            return converge()
        measure.adopt_orphans()
        with held(ROOT):
            return compare(options.rounds, [key for key in options.only.split(",") if key])
    except (BenchError, RuntimeError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
