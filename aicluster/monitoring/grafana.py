"""What Grafana is told of the cluster: data sources, and links to pages outside it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import SiteError
from ..site.addresses import is_open
from ..site.ingress import service_page
from ..site.nodes import nodes_running

PROMETHEUS = "prometheus"
"""Type of the data sources that have metrics, and uid of the cluster's: dashboards and checks name it."""

Node = Mapping[str, Any]


def placed_with(nodes: Sequence[Node], key: str) -> Iterator[tuple[str, list[Node]]]:
    """Yield services that have a key somewhere, with those nodes; the monitoring tier is last: it watches."""
    for service in sorted({name for node in nodes for name in node["services"]}):
        having = [node for node in nodes_running(nodes, service) if node["services"][service].get(key)]
        if having:
            yield service, sorted(having, key=lambda node: node["tier"] == "monitoring")


def reached(node: Node, service: str, here: Node) -> str | None:
    """Return the URL at which a container on `here` reaches the data source on `node`, or None.

    Containers of one node know each other by name. From elsewhere it is the published port, if it is open to
    the tier of `here`; None if it is not.
    """
    entry = node["services"][service]
    port = entry["ports"][entry["datasource"]["port"]]
    if node["name"] == here["name"]:
        return f"http://{service}:{port['container']}"
    if is_open(port, here["tier"]):
        return f"http://{node['address']}:{port['port']}"
    return None


def grafana_datasources(nodes: Sequence[Node], name: str) -> list[dict[str, Any]]:
    """Return the data sources of the Grafana on the node `name`, as its provisioning files list them.

    A service's data source has its name as uid. Of two nodes the one in the monitoring tier watches the
    other, and its uid ends in `-watch`. Those that this node may not reach are left out. Raises SiteError
    if that is the cluster's Prometheus: dashboards would stay empty.
    """
    here = next(node for node in nodes if node["name"] == name)
    found = []
    for service, having in placed_with(nodes, "datasource"):
        for node, suffix in zip(having, ("", "-watch"), strict=False):
            uid, url = service + suffix, reached(node, service, here)
            if url is None and uid == PROMETHEUS:
                port = node["services"][service]["datasource"]["port"]
                raise SiteError(
                    f"grafana_datasources: port {port} of {service} on {node['name']}: must be open to "
                    f"{here['tier']}, where grafana on {name} asks it; add it to its `from`"
                )
            if url is not None:
                title = service.replace("_", " ").capitalize() + (" (watch)" if suffix else "")
                found.append(datasource(title, uid, url, node["services"][service]["datasource"]))
    return sorted(found, key=lambda source: not source["isDefault"])


def datasource(title: str, uid: str, url: str, kind: Mapping[str, Any]) -> dict[str, Any]:
    """Return a data source of a type (`kind`: the key `datasource`), with what Grafana knows of it."""
    default = uid == PROMETHEUS
    about: dict[str, Any] = {"implementation": "prometheus", "handleGrafanaManagedAlerts": False}
    if kind["type"] == PROMETHEUS:
        about = {"httpMethod": "POST", "prometheusType": "Prometheus", "manageAlerts": default}
        if "interval_s" in kind:  # from which Grafana makes the windows of rates
            about["timeInterval"] = f"{kind['interval_s']}s"
    common = {"name": title, "uid": uid, "type": kind["type"], "access": "proxy", "url": url}
    return {**common, "isDefault": default, "editable": False, "jsonData": about}


def grafana_links(nodes: Sequence[Node]) -> list[dict[str, str]]:
    """Return title and url of the pages with `link` that people may open."""
    found = []
    for service, having in placed_with(nodes, "dashboard"):
        page, opened = having[0]["services"][service]["dashboard"], service_page(nodes, service)
        if page.get("link") and opened:
            found.append({"title": page.get("title", service), "url": opened["url"]})
    return sorted(found, key=lambda link: link["title"])
