# SPDX-License-Identifier: Apache-2.0
"""What Grafana is told of the cluster: data sources, and links to pages outside it.

Source: `cluster_nodes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SiteError
from ..site.addresses import is_open
from ..site.nodes import nodes_running

PROMETHEUS, WATCH, ALERTMANAGER = "prometheus", "prometheus-watch", "alertmanager"
"""Fixed uids: dashboards, links and checks name data sources by them."""


def nodes_with(nodes: Sequence[Mapping[str, Any]], service: str) -> list[Mapping[str, Any]]:
    """Return the nodes that run a service, those of the monitoring tier last: what watches comes second."""
    return sorted(nodes_running(nodes, service), key=lambda node: node["tier"] == "monitoring")


def reached(node: Mapping[str, Any], service: str, here: Mapping[str, Any]) -> str | None:
    """Return the URL at which a container on `here` reaches the page of `service` on `node`, or None.

    Containers of one node know each other by name. From elsewhere it is the published port, if it is open to
    the tier of `here`; None if it is not.
    """
    entry = node["services"][service]
    port = entry["ports"][(entry.get("dashboard") or {"port": "web"})["port"]]
    if node["name"] == here["name"]:
        return f"http://{service}:{port['container']}"
    if is_open(port, here["tier"]):
        return f"http://{node['address']}:{port['port']}"
    return None


def grafana_datasources(
    nodes: Sequence[Mapping[str, Any]], name: str, intervals: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the data sources of the Grafana on the node `name`, as its provisioning files list them.

    The cluster's Prometheus is the one outside the monitoring tier; the one on it watches that one. The two
    others are there where this node may reach them. `intervals`: node name -> seconds between two scrapes of
    its Prometheus, from which Grafana makes the windows of rates. Raises SiteError if the first one
    is not open to this node's tier: dashboards would stay empty.
    """
    here = next(node for node in nodes if node["name"] == name)
    running = nodes_with(nodes, PROMETHEUS)
    wanted = [
        *((PROMETHEUS, "Prometheus", PROMETHEUS, node) for node in running[:1]),
        *((WATCH, "Prometheus (watch)", PROMETHEUS, node) for node in running[1:2]),
        *((ALERTMANAGER, "Alertmanager", ALERTMANAGER, node) for node in nodes_with(nodes, ALERTMANAGER)[:1]),
    ]
    found = []
    for uid, title, service, node in wanted:
        url = reached(node, service, here)
        if url is None and uid == PROMETHEUS:
            raise SiteError(
                f"grafana_datasources: port web of prometheus on {node['name']}: must be open to "
                f"{here['tier']}, where grafana on {name} asks it; add it to its `from`"
            )
        if url is not None:
            common = {"name": title, "uid": uid, "type": service, "access": "proxy", "url": url}
            more = {"isDefault": uid == PROMETHEUS, "editable": False}
            found.append({**common, **more, "jsonData": datasource_json(uid, intervals.get(node["name"]))})
    return found


def datasource_json(uid: str, interval_s: int | None) -> dict[str, Any]:
    """Return what a data source knows of its server."""
    if uid == ALERTMANAGER:
        return {"implementation": "prometheus", "handleGrafanaManagedAlerts": False}
    return {
        "httpMethod": "POST",
        "prometheusType": "Prometheus",
        "manageAlerts": uid == PROMETHEUS,
        "timeInterval": f"{interval_s}s",
    }


def grafana_links(nodes: Sequence[Mapping[str, Any]], pages: Mapping[str, str]) -> list[dict[str, str]]:
    """Return title and url of pages outside Grafana that operators may open.

    `pages`: title -> service. A service that runs nowhere, has no page (`dashboard` of the catalogue) or does
    not show it to operators is left out; of several nodes the first counts.
    """
    found = []
    for title, service in pages.items():
        for node in nodes_with(nodes, service)[:1]:
            entry = node["services"][service]
            page = entry.get("dashboard")
            port = entry["ports"].get(page["port"]) if page else None
            if port and is_open(port, "operators"):
                found.append(
                    {"title": title, "url": f"http://{node['address']}:{port['port']}{page['path']}"}
                )
    return found
