"""Grafana: its data sources and links follow placement, and who may look."""

from copy import deepcopy
from typing import Any

import pytest
import render
from tables import cases

from aicluster.errors import SiteError
from aicluster.monitoring.grafana import grafana_datasources, grafana_links
from aicluster.site.nodes import nodes_running


def cluster(**ports: list[str]) -> list[dict[str, Any]]:
    """Production, its second Prometheus slower and at another port; audiences: node=[...] of a Prometheus."""
    nodes = deepcopy(render.cluster("production"))
    for node in nodes_running(nodes, "prometheus"):
        entry, second = node["services"]["prometheus"], node["name"] == "PI41"
        port = entry["ports"]["web"]
        port["from"] = ports.get(node["name"], port["from"])
        port["port"], entry["datasource"]["interval_s"] = (9095, 60) if second else (9090, 30)
    return nodes


# By the name of the container where it runs beside, else by its address and published port.
@cases(("here", "urls"), {
    "on the monitoring node": ("PI41", ["192.168.1.147:9090", "prometheus:9090", "alertmanager:9093"]),
    "on the gateway": ("PI51", ["prometheus:9090", "192.168.1.204:9095", "192.168.1.204:9093"]),
})  # fmt: skip
def test_data_sources_follow_placement(here, urls):
    found = {source["uid"]: source for source in grafana_datasources(cluster(), here)}
    names = ["prometheus", "prometheus-watch", "alertmanager"]
    assert [found[name]["url"] for name in names] == [f"http://{url}" for url in urls]
    assert [name for name in found if found[name]["isDefault"]] == ["prometheus"]
    assert [found[name]["jsonData"]["timeInterval"] for name in names[:2]] == ["30s", "60s"]


def test_what_this_node_may_not_reach_is_no_data_source():
    found = grafana_datasources(cluster(PI41=["operators"]), "PI51")
    assert [source["uid"] for source in found] == ["prometheus", "alertmanager"]


def test_a_prometheus_that_may_not_be_reached_is_an_error_with_the_way_out():
    refusal = "prometheus on PI51: must be open to monitoring, where grafana on PI41"
    with pytest.raises(SiteError, match=refusal):
        grafana_datasources(cluster(PI51=["operators"]), "PI41")


def test_links_lead_to_the_pages_people_may_open():
    nodes = cluster()
    pages = {"Alerts": "/alerts/", "Logs": "/logs/select/vmui/", "Prometheus": "/prometheus/"}
    links = {link["title"]: link["url"] for link in grafana_links(nodes)}
    assert links == {title: f"https://192.168.1.147:443{path}" for title, path in pages.items()}
    [gateway] = nodes_running(nodes, "kong")
    for port in gateway["services"]["nginx"]["ports"].values():
        port["from"] = ["monitoring"]
    assert grafana_links(nodes) == []


def test_visitors_may_look_at_the_gateway_s_alone_and_only_through_nginx():
    monitoring, gateway = (
        render.container("grafana", host=host) for host in ("192.168.1.204", "192.168.1.147")
    )
    assert (monitoring["ports"], gateway.get("ports")) == (["192.168.1.204:3000:3000"], None)
    welcome = [one["environment"]["GF_AUTH_ANONYMOUS_ENABLED"] for one in (monitoring, gateway)]
    assert welcome == ["false", "true"]
