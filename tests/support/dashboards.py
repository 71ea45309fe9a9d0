"""Grafana's dashboards as tests read them: panels, and queries with their variables filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import render

FOLDER = "/opt/aicluster/grafana/dashboards/"
# What Grafana puts in the place of its own variables; a rate is taken over four scrapes.
TIMES = {"__interval": "30s", "__rate_interval": "2m", "__range": "6h"}
# `$1` is none: a group of a regular expression, which is left to Prometheus.
VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|([a-zA-Z_]\w*))")
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
        return f"{self.dashboard} / {self.panel} / {self.letter}"


def rendered() -> list[Dashboard]:
    files = render.render_role("grafana")
    return [json.loads(text) for path, text in sorted(files.items()) if path.startswith(FOLDER)]


def panels(dashboard: Dashboard) -> list[Panel]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries(dashboard: Dashboard) -> Iterator[Query]:
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
