"""Grafana's dashboards from short descriptions.

Source of the JSON: dashboards of schema version 42, the last one Grafana reads from files.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .grafana import PROMETHEUS
from .panels import COLUMNS, described_in, only, panel_json

SCHEMA_VERSION = 42
TAG = "aicluster"
MENU = {"type": "dashboards", "title": "Dashboards", "tags": [TAG], "asDropdown": True, "keepTime": True}

DASHBOARD_KEYS = {"title", "uid", "description", "from", "refresh", "variables", "rows"}
VARIABLE_KEYS = {"name", "label", "values", "of", "all"}


def placed(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Yield rows and panels with id and place: from left to right, a new line where the width is used up."""
    number, y = 0, 0
    for row, panels in rows.items():
        number += 1
        grid = {"h": 1, "w": COLUMNS, "x": 0, "y": y}
        shown = {"title": row, "id": number, "collapsed": False}
        yield {"type": "row", **shown, "panels": [], "gridPos": grid}
        x, y, tallest = 0, y + 1, 0
        for panel in panels:
            built = panel_json(panel)
            size = built["gridPos"]
            if x + size["w"] > COLUMNS:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            yield built | {"id": number, "gridPos": {**size, "x": x, "y": y}}
            x, tallest = x + size["w"], max(tallest, size["h"])
        y += tallest


def variable_json(variable: Mapping[str, Any]) -> dict[str, Any]:
    """Return a choice at the top of the dashboard: the values one label has among some series."""
    only(variable, VARIABLE_KEYS, VARIABLE_KEYS - {"all"})
    query = f"label_values({variable['of']}, {variable['values']})"
    every = bool(variable.get("all"))
    # All means all, also what has no such label at the moment.
    all_of_it = {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}} if every else {}
    return {
        "type": "query",
        "name": variable["name"],
        "label": variable["label"],
        "datasource": {"type": "prometheus", "uid": PROMETHEUS},
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        # Read anew with the time range: a node that was added is there without a reload of the page.
        "refresh": 2,
        "sort": 1,
        "multi": every,
        "includeAll": every,
        **all_of_it,
    }


def grafana_dashboard(
    description: Mapping[str, Any], links: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Return Grafana's JSON of a dashboard described in a few lines; see roles/grafana/README.md.

    `links`: pages outside Grafana, each with title and url. Raises SiteError naming the panel for a
    key that is unknown or missing and for a value that is none.
    """
    title = str(description.get("title"))
    with described_in(f"grafana_dashboard: {title}"):
        only(description, DASHBOARD_KEYS, ["title", "uid", "description", "rows"])
        choices = list(map(variable_json, description.get("variables", [])))
        panels = list(placed(description["rows"]))
    return {
        "uid": description["uid"],
        "title": title,
        "description": " ".join(description["description"].split()),
        "tags": [TAG],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": description.get("from", "now-6h"), "to": "now"},
        "timezone": "browser",
        "refresh": description.get("refresh", "30s"),
        "links": [
            MENU,
            *({"type": "link", "icon": "external link", "targetBlank": True, **link} for link in links),
        ],
        "annotations": {"list": []},
        "templating": {"list": choices},
        "panels": panels,
    }
