"""The ways of doing it: their commands, and how each says that nothing changed."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .measure import Cost

INVENTORY = ("-i", "inventory/groups.yml", "-i", "inventory/lab")


@dataclass(frozen=True)
class Counts:
    """Module executions on all nodes, and tasks of one run."""

    modules: int | None
    tasks: int | None


@dataclass(frozen=True)
class Variant:
    """One way of bringing seven nodes to their desired state."""

    key: str
    title: str
    command: tuple[str, ...]
    judge: Callable[[Cost], str]
    """Returns why a run was not one without changes, or an empty text."""
    environment: dict[str, str] = field(default_factory=dict)
    is_ansible: bool = True


def base_environment(root: Path) -> dict[str, str]:
    """Return the environment of a plain user's command: the project's ansible.cfg, nothing inherited."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ANSIBLE_", "MOLECULE_", "PYTHON", "PYINFRA_"))
    }
    return kept | {"ANSIBLE_CONFIG": str(root / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1"}


def last_words(output: str, count: int = 3) -> str:
    """Return the last lines that are not empty, as one."""
    return " | ".join([line.strip() for line in output.splitlines() if line.strip()][-count:])[-400:]


RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def judge_ansible(cost: Cost, nodes: int) -> str:
    """Judge a run by its recap."""
    recap = [line for line in RECAP.findall(cost.output) if line[0] != "localhost"]
    if cost.code or len(recap) < nodes:
        failures = "\n".join(re.findall(r"^(?:fatal:|\[ERROR\]).*$", cost.output, re.MULTILINE))
        return f"ended with {cost.code}: {last_words(failures or cost.output)}"
    changed = [f"{host} changed={count}" for host, count, _, _ in recap if count != "0"]
    return f"the nodes were not in their desired state: {', '.join(changed)}" if changed else ""


PYINFRA_TOTAL = re.compile(r"^\s*Grand total\s+\d+\s+(-|\d+)\s+(-|\d+)\s+(-|\d+)\s*$", re.MULTILINE)


def judge_pyinfra(cost: Cost) -> str:
    """Judge a pyinfra run by the sums of its closing table: done, failed, without change."""
    total = PYINFRA_TOTAL.search(cost.output)
    if cost.code or not total:
        return f"ended with {cost.code}: {last_words(cost.output)}"
    if {total[1], total[2]} - {"-", "0"}:
        return f"the nodes were not in their desired state: {total[1]} operations changed something"
    return ""


def judge_bound(cost: Cost) -> str:
    """Judge the scripts, which print differences only."""
    if cost.code or cost.output.strip():
        return f"ended with {cost.code}: {last_words(cost.output)}"
    return ""


def count_lines(text: str) -> Counts:
    """Return what the callback plugin `bench_counts` wrote."""
    lines = text.splitlines()
    return Counts(sum(line.startswith("module ") for line in lines), lines.count("task"))


def operations(output: str) -> Counts:
    """Return the operations of a pyinfra run; what it executes for one is no module."""
    return Counts(None, output.count("--> Starting operation") or None)


def make_variants(
    root: Path, work: Path, *, tools: Path, mitogen: Path, scripts: Path, nodes: int
) -> list[Variant]:
    """Return all variants: ordinary playbook, mitogen, pyinfra, toolkit, lower bound."""
    playbook = str(root / ".venv/bin/ansible-playbook")
    bench = root / "tests/bench"

    def by_recap(cost: Cost) -> str:
        return judge_ansible(cost, nodes)

    # Tuned as the toolkit is (forks, pipelining, shared connections), and facts gathered once.
    ordinary = {"ANSIBLE_ROLES_PATH": str(work / "ordinary/roles"), "ANSIBLE_GATHERING": "smart"}
    under_mitogen = {
        "PYTHONPATH": str(mitogen),
        "ANSIBLE_STRATEGY": "mitogen_linear",
        "ANSIBLE_STRATEGY_PLUGINS": str(mitogen / "ansible_mitogen/plugins/strategy"),
    }
    tasks = (playbook, *INVENTORY, str(work / "ordinary/site.yml"))
    deploy = (
        str(tools / "bin/pyinfra"),
        "-y",
        str(bench / "pyinfra_inventory.py"),
        str(bench / "pyinfra_deploy.py"),
    )
    return [
        Variant("toolkit", "toolkit: site.yml", (playbook, *INVENTORY, "site.yml"), by_recap),
        Variant("ordinary", "ordinary tasks", tasks, by_recap, ordinary),
        Variant("mitogen", "ordinary tasks, mitogen", tasks, by_recap, ordinary | under_mitogen),
        Variant(
            "pyinfra",
            "pyinfra",
            deploy,
            judge_pyinfra,
            {"BENCH_NODES": str(work / "site/nodes.json"), "PYTHONDONTWRITEBYTECODE": "1"},
            is_ansible=False,
        ),
        Variant("bound", "one ssh, one script", ("sh", str(scripts)), judge_bound, is_ansible=False),
    ]
