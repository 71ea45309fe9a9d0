"""Medians, the table, and what it says about the project's aims."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from .measure import Cost

TOOLKIT, PYINFRA, BOUND = "toolkit", "pyinfra", "bound"
MODULES_AIM = 3
MEMORY_AIM_MB = 200
BOUND_AIM = 4


@dataclass(frozen=True)
class Row:
    """One way of doing it: medians over the rounds. Seconds and MiB; None: not known, or not applicable."""

    title: str
    wall_s: float | None = None
    controller_cpu_s: float | None = None
    target_cpu_s: float | None = None
    controller_mb: float | None = None
    modules: float | None = None
    """Module executions per node."""
    tasks: float | None = None
    """Tasks of the play, or operations per node."""
    problem: str = ""
    """Why there are no numbers."""


def summary(
    title: str, costs: Sequence[Cost], idle_rate: float, modules: float | None, tasks: float | None
) -> Row:
    """Return the medians of a variant's runs; what the nodes do anyway (CPU s per s) is taken off."""
    return Row(
        title,
        median(cost.wall_s for cost in costs),
        median(cost.controller_cpu_s for cost in costs),
        median(max(0.0, cost.target_cpu_s - idle_rate * cost.wall_s) for cost in costs),
        median(cost.controller_mb for cost in costs),
        modules,
        tasks,
    )


def number(value: float | None) -> str:
    """Return a number with as many digits as it deserves."""
    if value is None:
        return "-"
    if value == int(value) and value < 1000:
        return str(int(value))
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratio(value: float | None, base: float | None) -> str:
    """Return how many times `base` a value is."""
    return "-" if value is None or not base else f"{number(value / base)} x"


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Return lines of cells in columns: the first to the left, numbers to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def table(rows: Mapping[str, Row]) -> str:
    """Return the measured table, ratios of wall clock to the toolkit and to the lower bound included."""
    head = ["", "wall s", "CPU s here", "CPU s nodes", "MB here", "modules/node", "tasks"]
    lines = [[*head, "of toolkit", "of bound"]]
    toolkit, bound = (rows[key].wall_s if key in rows else None for key in (TOOLKIT, BOUND))
    for row in rows.values():
        values = (
            row.wall_s,
            row.controller_cpu_s,
            row.target_cpu_s,
            row.controller_mb,
            row.modules,
            row.tasks,
        )
        ratios = [ratio(row.wall_s, toolkit), ratio(row.wall_s, bound)]
        lines.append([row.title, *(number(value) for value in values), *ratios])
    problems = [f"{row.title}: {row.problem}" for row in rows.values() if row.problem]
    return "\n".join([aligned(lines), *problems])


def aims(rows: Mapping[str, Row]) -> list[str]:
    """Return one line per aim that the rows can judge: `met` or `MISSED`, with both numbers."""
    toolkit = rows.get(TOOLKIT, Row(""))
    lines = []

    def judge(what: str, value: float | None, limit: float | None) -> None:
        if value is not None and limit is not None:
            verdict = "met   " if value <= limit else "MISSED"
            lines.append(f"{verdict} {what}: {number(value)} (aim: {number(limit)} or less)")

    bound = rows.get(BOUND, Row("")).wall_s
    judge("module executions per node", toolkit.modules, MODULES_AIM)
    judge("wall seconds, next to pyinfra", toolkit.wall_s, rows.get(PYINFRA, Row("")).wall_s)
    judge(
        f"wall seconds, next to {BOUND_AIM} times the lower bound",
        toolkit.wall_s,
        bound and bound * BOUND_AIM,
    )
    judge("MB of memory of the controller", toolkit.controller_mb, MEMORY_AIM_MB)
    return lines


def as_data(rows: Mapping[str, Row], costs: Mapping[str, Sequence[Cost]], idle_rate: float) -> dict[str, Any]:
    """Return everything measured, for JSON; a run's output stays in its log."""
    return {
        "idle_cpu_s_per_s": idle_rate,
        "rows": {key: asdict(row) for key, row in rows.items()},
        "runs": {
            key: [{k: v for k, v in asdict(cost).items() if k != "output"} for cost in of_variant]
            for key, of_variant in costs.items()
        },
    }
