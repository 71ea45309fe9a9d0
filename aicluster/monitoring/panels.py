"""The panels of Grafana's dashboards from short descriptions, one builder per kind.

Source of the JSON: the kinds of the npm package @grafana/schema 12.4; Grafana adds their defaults itself.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..errors import SiteError
from .grafana import PROMETHEUS

PANEL_VERSION = "12.4.0"
COLUMNS = 24

FIELD_KEYS = {"unit", "decimals", "colors", "states"}
PANEL_KEYS = {
    *("description", "width", "height", "queries", "trend", "none"),
    *("expr", "legend", "labels", "columns", "sort", "text", *FIELD_KEYS),
}
COLUMN_KEYS = {"name", "expr", "cell", *FIELD_KEYS}
LABEL_KEYS = {"label", "name", "dashboard"}
# Of a unit, where a panel does not say its own.
DECIMALS = {"s": 1, "reqpm": 1}

Panel = Mapping[str, Any]


@contextmanager
def described_in(where: str) -> Iterator[None]:
    """Let errors name the place in the description."""
    try:
        yield
    except (ValueError, KeyError) as error:
        raise SiteError(f"{where}: {error}") from error


def only(given: Mapping[str, Any], known: Iterable[str], required: Iterable[str]) -> None:
    """Raise SiteError for a key that is unknown or missing."""
    if unknown := sorted(set(given) - set(known)):
        raise SiteError(f"unknown keys {unknown}; known are {sorted(known)}")
    if missing := sorted(key for key in required if given.get(key) in (None, "", [])):
        raise SiteError(f"{', '.join(missing)} must be said")


def thresholds(colors: Sequence[Any]) -> dict[str, Any]:
    """Return thresholds of `[color, bound, color, bound, color]`: each bound begins the color behind it."""
    if len(colors) % 2 == 0:
        raise SiteError(f"colors {list(colors)}: must be color, bound, color ... and end with a color")
    bounds = [None, *colors[1::2]]
    steps = [{"color": color, "value": bound} for color, bound in zip(colors[::2], bounds, strict=True)]
    return {"mode": "absolute", "steps": steps}


def mappings(states: Mapping[Any, Sequence[str]]) -> list[dict[str, Any]]:
    """Return value mappings of `{value: [text, color]}`."""
    options = {
        str(value): {"text": text, "color": color, "index": index}
        for index, (value, (text, color)) in enumerate(states.items())
    }
    return [{"type": "value", "options": options}]


def field_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return how values are shown: unit, decimals, range, colors, words for values, text for no value."""
    states = given.get("states", {})
    colored = "colors" in given or states
    shown: dict[str, Any] = {
        "unit": given.get("unit", "short"),
        "color": {"mode": "thresholds" if colored else "palette-classic"},
        "thresholds": thresholds(given.get("colors", ["text" if states else "green"])),
        "mappings": mappings(states) if states else [],
    }
    decimals = given.get("decimals", DECIMALS.get(shown["unit"]))
    if decimals is not None:
        shown["decimals"] = decimals
    if "none" in given:
        shown["noValue"] = given["none"]
    if shown["unit"] == "percentunit":
        shown |= {"min": 0, "max": 1}
    return shown


def override(name: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return how one column differs."""
    return {
        "matcher": {"id": "byName", "options": name},
        "properties": [{"id": key, "value": value} for key, value in properties.items()],
    }


def built(
    targets: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what panels with values have in common."""
    fields = {"defaults": defaults, "overrides": []}
    return {"targets": targets, "fieldConfig": fields, "options": options}


OVER_TIME = {"range": True, "instant": False}
NOW = {"range": False, "instant": True}


def target(expr: str, position: int, legend: str, more: Mapping[str, object]) -> dict[str, Any]:
    """Return one query of a panel; `position` gives its letter, `more` says how it is asked."""
    return {
        "refId": chr(ord("A") + position),
        "datasource": {"type": "prometheus", "uid": PROMETHEUS},
        "editorMode": "code",
        "expr": " ".join(expr.split()),
        # Descriptions have labels in single braces.
        "legendFormat": re.sub(r"\{(\w+)\}", r"{{\1}}", legend) or "__auto",
        **more,
    }


def targets_of(panel: Panel, how: Mapping[str, object]) -> list[dict[str, Any]]:
    """Return a panel's queries, from `expr` with `legend`, or from `queries`, legend to expression.

    A curve without a legend is called by the labels that its expression keeps.
    """
    if not panel.get("expr") and not panel.get("queries"):
        raise SiteError("expr must be said")
    kept = re.search(r"\bby \(([\w, ]+)\)", panel.get("expr", ""))
    labels = [f"{{{label}}}" for label in kept[1].split(", ") if label != "le"] if kept else []
    queries = panel.get("queries") or {panel.get("legend", " ".join(labels)): panel["expr"]}
    return [target(expr, n, legend, how) for n, (legend, expr) in enumerate(queries.items())]


LAST = {"calcs": ["lastNotNull"], "fields": "", "values": False}
SORTED = {"calcs": ["lastNotNull", "max"], "sortBy": "Last *", "sortDesc": True}
LEGEND_BESIDE = {"showLegend": True, "displayMode": "table", "placement": "right", **SORTED}
LEGEND_BELOW = {"showLegend": True, "displayMode": "list", "placement": "bottom", "calcs": []}
NO_LEGEND = {"showLegend": False, "displayMode": "list", "placement": "bottom", "calcs": []}


def stat(panel: Panel) -> dict[str, Any]:
    """A number; with `trend` also its way there."""
    trend = bool(panel.get("trend"))
    targets = targets_of({"legend": "", **panel}, OVER_TIME if trend else NOW)
    mode = {"colorMode": "value" if trend else "background", "graphMode": "area" if trend else "none"}
    return built(targets, field_defaults(panel), {"reduceOptions": LAST, **mode})


def lines(panel: Panel) -> dict[str, Any]:
    """Curves over time, the highest first in legend and tooltip; `stacked` piles them up."""
    stacked = "stacked" in panel
    targets = targets_of(panel, OVER_TIME)
    # Names and figures beside curves that one would look up; below, where there is no room for them.
    many = any("{{" in each["legendFormat"] for each in targets)
    wide = panel.get("width", COLUMNS // 2) >= COLUMNS // 2
    defaults = field_defaults(panel)
    # Curves are told apart by color: a threshold is a line in the background.
    defaults["color"] = {"mode": "palette-classic"}
    defaults["custom"] = {
        "fillOpacity": 60 if stacked else 10,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "axisSoftMin": 0,
        "thresholdsStyle": {"mode": "dashed" if "colors" in panel else "off"},
    }
    legend = LEGEND_BESIDE if many and wide else LEGEND_BELOW
    return built(targets, defaults, {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}})


def bars(panel: Panel) -> dict[str, Any]:
    """One bar per series, now."""
    shape = {"displayMode": "basic", "orientation": "horizontal", "maxVizHeight": 40}
    options = {"reduceOptions": LAST, **shape, "legend": NO_LEGEND}
    return built(targets_of(panel, NOW), field_defaults(panel), options)


def timeline(panel: Panel) -> dict[str, Any]:
    """One stripe per series, colored by what its value means."""
    defaults = field_defaults(panel)
    defaults["custom"] = {"lineWidth": 0, "fillOpacity": 80}
    options = {"showValue": "never", "rowHeight": 0.8, "legend": NO_LEGEND}
    return built(targets_of(panel, OVER_TIME), defaults, options)


def table(panel: Panel) -> dict[str, Any]:
    """One line per set of `labels`, one query per column, joined by those labels."""
    only(panel, panel, ["labels", "columns"])
    labels, columns = panel["labels"], panel["columns"]
    for label in labels:
        only(label, LABEL_KEYS, ["label", "name"])
    # A single query keeps the plain name of its value; of several each has its letter.
    values = ["Value"] if len(columns) == 1 else [f"Value #{chr(ord('A') + n)}" for n in range(len(columns))]
    keys = [label["label"] for label in labels]
    names = {label["label"]: label["name"] for label in labels} | {
        value: column["name"] for value, column in zip(values, columns, strict=True)
    }
    by = ", ".join(keys)
    return {
        "targets": [
            target(f"max by ({by}) ({column['expr']})", n, "", {**NOW, "format": "table"})
            for n, column in enumerate(columns)
        ],
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": {"Time": True},
                    "indexByName": {name: n for n, name in enumerate([*keys, *values])},
                    "renameByName": names,
                },
            },
        ],
        "fieldConfig": {
            "defaults": field_defaults({"colors": ["text"]}),
            "overrides": [
                *(label_override(label) for label in labels if "dashboard" in label),
                *map(column_override, columns),
            ],
        },
        "options": {
            "sortBy": [{"displayName": panel.get("sort", labels[0]["name"]), "desc": "sort" in panel}]
        },
    }


def label_override(label: Mapping[str, Any]) -> dict[str, Any]:
    """A label that leads to the dashboard of what it names; Grafana puts its own path before the `/`."""
    url = f"/d/{label['dashboard']}?var-{label['label']}=${{__value.text}}&${{__url_time_range}}"
    return override(label["name"], {"links": [{"title": "Details of ${__value.text}", "url": url}]})


CELLS = {
    "text": {"type": "color-text"},
    "color": {"type": "color-background", "mode": "basic"},
    "gauge": {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
}


def column_override(column: Mapping[str, Any]) -> dict[str, Any]:
    """How the values of one column are shown; `cell` is text, color or gauge."""
    only(column, COLUMN_KEYS, ["name", "expr"])
    shown = field_defaults({"colors": ["text"], **column})
    shown.pop("color")
    return override(column["name"], {**shown, "custom.cellOptions": CELLS[column.get("cell", "text")]})


def note(panel: Panel) -> dict[str, Any]:
    """Words, in Markdown."""
    return {"options": {"mode": "markdown", "content": panel["text"].strip()}}


class Kind(NamedTuple):
    """A kind of panel: Grafana's plugin, and its usual size in cells of Grafana's grid."""

    build: Callable[[Panel], dict[str, Any]]
    plugin: str
    width: int
    height: int
    required: str = "description"


KINDS = {
    "stat": Kind(stat, "stat", 4, 4),
    "lines": Kind(lines, "timeseries", 12, 8),
    "stacked": Kind(lines, "timeseries", 12, 8),
    "bars": Kind(bars, "bargauge", 12, 8),
    "timeline": Kind(timeline, "state-timeline", 24, 8),
    "table": Kind(table, "table", 24, 9),
    "note": Kind(note, "text", 24, 4, "text"),
}


def panel_json(panel: Panel) -> dict[str, Any]:
    """Return a panel with its size, and without its id and place; its title is the value of its kind."""
    names = [key for key in panel if key in KINDS]
    if len(names) != 1:
        raise SiteError(f"panel with {', '.join(panel)}: must have one kind of {', '.join(KINDS)}")
    title, kind = panel[names[0]], KINDS[names[0]]
    with described_in(f"panel {title}"):
        only(panel, {names[0], *PANEL_KEYS}, [names[0], kind.required])
        common = {"type": kind.plugin, "title": title, "pluginVersion": PANEL_VERSION}
        common["gridPos"] = {"h": panel.get("height", kind.height), "w": panel.get("width", kind.width)}
        if kind.required == "description":
            common["datasource"] = {"type": "prometheus", "uid": PROMETHEUS}
            common["description"] = " ".join(panel["description"].split())
        return common | kind.build(panel)
