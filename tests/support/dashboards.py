"""Grafana's dashboards as tests read them: panels, queries with their variables filled in, and promtool."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import render
import yaml
from aicluster_lab import registry
from tree import catalogue

FOLDER = "/opt/aicluster/grafana/dashboards/"
# What Grafana puts in the place of its own variables; a rate is taken over four scrapes.
TIMES = {"__interval": "30s", "__rate_interval": "2m", "__range": "6h"}
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
Dashboard = dict[str, Any]
Panel = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """One query of a panel, as it stands in the file."""

    dashboard: str
    panel: str
    letter: str
    expr: str

    def __str__(self) -> str:
        """Where it stands."""
        return f"{self.dashboard} / {self.panel} / {self.letter}"


def rendered(inventory: str = "production", host: str | None = None) -> list[Dashboard]:
    """Every dashboard as it lies on a node, by default on the first that runs Grafana."""
    files = render.render_role("grafana", inventory=inventory, host=host)
    return [json.loads(text) for path, text in sorted(files.items()) if path.startswith(FOLDER)]


def panels(dashboard: Dashboard) -> list[Panel]:
    """The panels without the rows between them."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[Query]:
    """Every query of a dashboard."""
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield Query(dashboard["title"], panel["title"], target["refId"], target["expr"])


def filled(expr: str, values: Mapping[str, str]) -> str:
    """The expression as Prometheus gets it. Raises KeyError for a variable nobody has set."""
    known = {**TIMES, **values}
    return VARIABLE.sub(lambda found: known[found[1] or found[2]], expr)


def choices(dashboard: Dashboard) -> dict[str, tuple[str, str]]:
    """Variable -> series selector and label its values come from."""
    found = {}
    for variable in dashboard["templating"]["list"]:
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert asked, variable["query"]
        found[variable["name"]] = (asked[1], asked[2])
    return found


def promtool() -> list[str] | None:
    """The command that runs promtool, here or in the lab's Prometheus image; None without either."""
    if shutil.which("promtool"):
        return ["promtool"]
    image = catalogue().get("prometheus", {}).get("image")
    docker = shutil.which("docker")
    if image is None or docker is None:
        return None
    tag = registry.local_tag(
        image, registry.published_port(os.environ.get("AICLUSTER_LAB_REGISTRY_PORT", ""))
    )
    if subprocess.run([docker, "image", "inspect", tag], capture_output=True, check=False).returncode:
        return None
    return [docker, "run", "--rm", "--interactive", "--network", "none", "--entrypoint", "promtool", tag]


def complaint_of_promtool(command: list[str], exprs: Mapping[str, str]) -> str:
    """What promtool says against any of the expressions (name -> expression), or nothing."""
    rules = [
        {"record": f"query_{n}", "expr": expr, "labels": {"at": at}}
        for n, (at, expr) in enumerate(exprs.items())
    ]
    file = yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}, sort_keys=False, width=10_000)
    ran = subprocess.run(
        [*command, "check", "rules"], input=file, capture_output=True, text=True, check=False
    )
    return "" if ran.returncode == 0 else f"{ran.stdout}{ran.stderr}"
