"""grafana_dashboard, grafana_datasources, grafana_links: descriptions and placement become files."""

from copy import deepcopy
from typing import Any

import pytest

from aicluster.errors import SiteError
from aicluster.monitoring.dashboards import grafana_dashboard
from aicluster.monitoring.grafana import grafana_datasources, grafana_links

STAT = {"title": "Up", "kind": "stat", "description": "Who is up.", "expr": "up", "unit": "short"}


def described(*panels: dict[str, Any], **more: Any) -> dict[str, Any]:
    rows = [{"title": "Row", "panels": list(panels)}]
    return {"title": "T", "uid": "t", "description": "D.", "rows": rows, **more}


def built(panel: dict[str, Any]) -> dict[str, Any]:
    [_, found] = grafana_dashboard(described(panel))["panels"]
    return dict(found)


def places(*sizes: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    panels = [STAT | {"title": str(n), "width": w, "height": h} for n, (w, h) in enumerate(sizes)]
    found = grafana_dashboard(described(*panels))["panels"]
    return [tuple(panel["gridPos"][key] for key in "xywh") for panel in found[1:]]


# --- places ---


@pytest.mark.parametrize(("sizes", "expected"), [
    pytest.param([(12, 8), (12, 8)], [(0, 1, 12, 8), (12, 1, 12, 8)], id="two halves fill a line"),
    pytest.param([(16, 8), (12, 8)], [(0, 1, 16, 8), (0, 9, 12, 8)], id="what does not fit begins a line"),
    pytest.param([(6, 4), (6, 10), (16, 3)], [(0, 1, 6, 4), (6, 1, 6, 10), (0, 11, 16, 3)],
        id="a line is as high as its highest panel"),
])  # fmt: skip
def test_panels_flow_from_left_to_right(sizes, expected):
    assert places(*sizes) == expected


def test_a_row_begins_below_the_one_before():
    rows = [{"title": str(n), "panels": [STAT | {"title": str(n)}]} for n in range(2)]
    found = grafana_dashboard(described() | {"rows": rows})["panels"]
    assert [panel["gridPos"]["y"] for panel in found] == [0, 1, 5, 6]
    assert [panel["id"] for panel in found] == [1, 2, 3, 4]


# --- panels ---


def test_a_legend_gets_its_braces():
    lines = built(STAT | {"kind": "lines", "legend": "{device} on {node}"})
    assert lines["targets"][0]["legendFormat"] == "{{device}} on {{node}}"


def test_an_expression_over_several_lines_is_one_line():
    assert built(STAT | {"expr": "sum(\n  up\n)"})["targets"][0]["expr"] == "sum( up )"


def test_a_number_now_is_asked_once_and_a_trend_over_time():
    assert built(STAT)["targets"][0]["instant"] is True
    assert built(STAT | {"trend": True})["targets"][0]["range"] is True


def test_colors_are_bounds_between_colors():
    steps = built(STAT | {"colors": ["green", 0.8, "orange", 0.9, "red"]})["fieldConfig"]["defaults"][
        "thresholds"
    ]
    assert [(step["value"], step["color"]) for step in steps["steps"]] == [
        (None, "green"),
        (0.8, "orange"),
        (0.9, "red"),
    ]


def test_states_are_words_and_colors_for_values():
    [mapping] = built(STAT | {"states": {1: ["up", "green"]}})["fieldConfig"]["defaults"]["mappings"]
    assert mapping == {"type": "value", "options": {"1": {"text": "up", "color": "green", "index": 0}}}


def test_a_part_of_one_is_drawn_from_0_to_1():
    defaults = built(STAT | {"unit": "percentunit"})["fieldConfig"]["defaults"]
    assert (defaults["min"], defaults["max"]) == (0, 1)


TABLE = {
    "title": "Nodes",
    "kind": "table",
    "description": "All of them.",
    "labels": [{"label": "node", "name": "Node", "dashboard": "n"}, {"label": "tier", "name": "Tier"}],
    "columns": [
        {"name": "Up", "expr": "up", "unit": "short"},
        {"name": "Load", "expr": "node_load5", "unit": "short", "cell": "gauge"},
    ],
}


def test_columns_of_a_table_are_joined_by_its_labels():
    table = built(TABLE)
    assert [target["expr"] for target in table["targets"]] == [
        "max by (node, tier) (up)",
        "max by (node, tier) (node_load5)",
    ]
    organize = table["transformations"][1]["options"]
    assert organize["renameByName"] == {"node": "Node", "tier": "Tier", "Value #A": "Up", "Value #B": "Load"}
    assert organize["indexByName"] == {"node": 0, "tier": 1, "Value #A": 2, "Value #B": 3}


def test_the_value_of_a_table_s_only_column_has_no_letter():
    table = built(TABLE | {"columns": TABLE["columns"][:1]})
    assert "Value" in table["transformations"][1]["options"]["renameByName"]


def test_a_label_leads_to_the_dashboard_of_what_it_names():
    [first, *_] = built(TABLE)["fieldConfig"]["overrides"]
    assert first["matcher"]["options"] == "Node"
    assert first["properties"][0]["value"][0]["url"].startswith("/d/n?var-node=${__value.text}")


@pytest.mark.parametrize(("change", "message"), [
    pytest.param({"unit": None}, "T: panel Up: unit must be said", id="without a unit"),
    pytest.param({"description": ""}, "T: panel Up: description must be said", id="without a description"),
    pytest.param({"expr": ""}, "T: panel Up: expr must be said", id="without a query"),
    pytest.param({"uint": "s"}, r"T: panel Up: unknown keys \['uint'\]", id="a misspelt key"),
    pytest.param({"kind": "pie"}, "kind 'pie': must be one of", id="an unknown kind"),
    pytest.param({"width": 25}, "width 25: must be from 1 to 24", id="wider than the page"),
    pytest.param({"colors": ["green", 1]}, "must be color, bound, color", id="colors that end with a bound"),
    pytest.param({"colors": ["green", "1", "red"]}, "must be color, bound, color", id="a bound that is text"),
    pytest.param({"kind": "table"}, "a table needs labels and columns", id="a table of nothing"),
])  # fmt: skip
def test_a_bad_description_names_the_panel_and_the_mistake(change, message):
    with pytest.raises(SiteError, match=message):
        grafana_dashboard(described(STAT | change))


@pytest.mark.parametrize("missing", ["title", "uid", "description", "rows"])
def test_a_dashboard_says_what_it_is(missing):
    with pytest.raises(SiteError, match=f"{missing} must be said"):
        grafana_dashboard({key: value for key, value in described(STAT).items() if key != missing})


def test_a_text_instead_of_a_description_is_refused():
    text: Any = "title: T"
    with pytest.raises(SiteError, match="must be a mapping"):
        grafana_dashboard(text)


def test_a_choice_of_all_means_everything():
    variables = [{"name": "route", "label": "Route", "values": "route", "of": "requests", "all": True}]
    [found] = grafana_dashboard(described(STAT, variables=variables))["templating"]["list"]
    assert found["query"]["query"] == "label_values(requests, route)"
    assert (found["includeAll"], found["allValue"]) == (True, ".*")


def test_links_lead_outside_in_a_window_of_their_own():
    found = grafana_dashboard(described(STAT), [{"title": "Logs", "url": "http://x/"}])["links"]
    assert [link["type"] for link in found] == ["dashboards", "link"]
    assert (found[1]["url"], found[1]["targetBlank"]) == ("http://x/", True)


# --- data sources and links ---

WEB = {"port": 9090, "container": 9090, "from": ["operators", "gateway", "monitoring"]}
ALERTS = {"port": 9093, "container": 9093, "from": ["operators", "gateway", "monitoring"]}
PAGE = {"port": "web", "path": "/", "link": True}


def prometheus(interval_s: int, port: int = 9090) -> dict[str, Any]:
    source = {"type": "prometheus", "port": "web", "interval_s": interval_s}
    dashboard = PAGE | {"title": "Prometheus"}
    return {"ports": {"web": WEB | {"port": port}}, "dashboard": dashboard, "datasource": source}


CLUSTER: list[dict[str, Any]] = [
    {
        "name": "PI41",
        "address": "192.0.2.4",
        "tier": "monitoring",
        "services": {
            "grafana": {"ports": {"web": {"port": 3000, "container": 3000, "from": ["operators"]}}},
            "prometheus": prometheus(60, 9095),
            "alertmanager": {
                "ports": {"web": ALERTS},
                "dashboard": PAGE | {"title": "Alerts"},
                "datasource": {"type": "alertmanager", "port": "web"},
            },
        },
    },
    {
        "name": "PI51",
        "address": "192.0.2.5",
        "tier": "gateway",
        "services": {
            "grafana": {"ports": {}, "dashboard": {"port": "web", "path": "/"}},
            "prometheus": prometheus(30),
        },
    },
]


def cluster(**ports: list[str]) -> list[dict[str, Any]]:
    """CLUSTER with other audiences: node=[...] of its Prometheus."""
    nodes = deepcopy(CLUSTER)
    for node in nodes:
        if node["name"] in ports:
            node["services"]["prometheus"]["ports"]["web"]["from"] = ports[node["name"]]
    return nodes


@pytest.mark.parametrize(("here", "expected"), [
    pytest.param(
        "PI41",
        {
            "prometheus": "http://192.0.2.5:9090",
            "prometheus-watch": "http://prometheus:9090",
            "alertmanager": "http://alertmanager:9093",
        },
        id="on the monitoring node: neighbours by name, the cluster's Prometheus by its address",
    ),
    pytest.param(
        "PI51",
        {
            "prometheus": "http://prometheus:9090",
            "prometheus-watch": "http://192.0.2.4:9095",
            "alertmanager": "http://192.0.2.4:9093",
        },
        id="on the gateway: the other way round, with the published port",
    ),
])  # fmt: skip
def test_data_sources_follow_placement(here, expected):
    found = grafana_datasources(CLUSTER, here)
    assert {source["uid"]: source["url"] for source in found} == expected
    assert [source["uid"] for source in found if source["isDefault"]] == ["prometheus"]
    assert not any(source["editable"] for source in found)


@pytest.mark.parametrize("here", ["PI41", "PI51"])
def test_rates_are_taken_over_the_pace_of_each_prometheus(here):
    found = {source["uid"]: source["jsonData"] for source in grafana_datasources(CLUSTER, here)}
    assert found["prometheus"]["timeInterval"] == "30s"
    assert found["prometheus-watch"]["timeInterval"] == "60s"


def test_what_this_node_may_not_reach_is_no_data_source():
    found = grafana_datasources(cluster(PI41=["operators"]), "PI51")
    assert [source["uid"] for source in found] == ["prometheus", "alertmanager"]


def test_a_prometheus_that_may_not_be_reached_is_an_error_with_the_way_out():
    with pytest.raises(
        SiteError, match="prometheus on PI51: must be open to monitoring, where grafana on PI41"
    ):
        grafana_datasources(cluster(PI51=["operators"]), "PI41")


def test_the_only_prometheus_is_the_cluster_s_wherever_it_runs():
    [found, _] = grafana_datasources(CLUSTER[:1], "PI41")
    assert (found["uid"], found["url"]) == ("prometheus", "http://prometheus:9090")


def test_without_prometheus_there_is_no_data_source():
    nodes = deepcopy(CLUSTER)
    for node in nodes:
        node["services"] = {"grafana": {"ports": {}}}
    assert grafana_datasources(nodes, "PI51") == []


def test_links_lead_to_the_pages_operators_may_open():
    alerts = {"title": "Alerts", "url": "http://192.0.2.4:9093/"}
    assert grafana_links(CLUSTER) == [alerts, {"title": "Prometheus", "url": "http://192.0.2.5:9090/"}]
    assert grafana_links(cluster(PI51=["gateway"])) == [alerts]
