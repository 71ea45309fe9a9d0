"""Dashboards have units Grafana knows and links that lead to one; who may look at them."""

import json

import dashboards
import render
from tables import cases

RENDERED = dashboards.rendered()
PANELS = {f"{one['title']} / {panel['title']}": panel for one in RENDERED for panel in dashboards.panels(one)}
# Ids of units as Grafana 12.4 knows them; it shows a number with an unknown word behind it otherwise.
UNITS = {"short", "percentunit", "bytes", "Bps", "pps", "ops", "reqpm", "ms", "s", "celsius"}


@cases("panel", PANELS)
def test_a_panel_has_a_unit_grafana_knows(panel):
    if panel["type"] != "text":
        config = panel["fieldConfig"]
        # A table has one per column.
        own = [p["value"] for each in config["overrides"] for p in each["properties"] if p["id"] == "unit"]
        assert set(own or [config["defaults"]["unit"]]) <= UNITS


def test_a_link_to_a_dashboard_leads_to_one():
    uids = {dashboard["uid"] for dashboard in RENDERED}
    parts = [part for one in RENDERED for part in json.dumps(one["panels"]).split('"/d/')[1:]]
    linked = {part.partition("?")[0] for part in parts}
    assert linked == {"aicluster-node"}
    assert linked <= uids


def test_nothing_is_called_healthy_because_nothing_is_known():
    # `or vector(0)` shows a green 0 for a metric that does not exist; where it does, 0 must be the truth.
    told = {q.expr for d in RENDERED for q in dashboards.queries(d) if "vector(0)" in q.expr}
    assert told == {"count(count by (node, job_name) (backup_last_success_timestamp_seconds)) or vector(0)"}


PI51, PI41 = "192.168.1.147", "192.168.1.204"


def test_visitors_may_look_at_the_gateway_s_alone_and_only_through_nginx():
    seen = {host: render.container("grafana", host=host) for host in (PI41, PI51)}
    assert [seen[host].get("ports") for host in seen] == [[f"{PI41}:3000:3000"], None]
    welcome = [seen[host]["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] for host in seen]
    assert welcome == ["false", "true"]
