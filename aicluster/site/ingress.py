"""Which pages of services the nginx of a node serves, and how people open a page."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import SiteError
from .addresses import is_open, scheme_of
from .catalogue import file_of
from .nodes import profiles_of

Node = Mapping[str, Any]
# A node that runs it is a gateway.
GATEWAY_SERVICE = "kong"
# Serves the pages of other services, and joins the networks of those.
INGRESS = "nginx"
LOGIN = "own"
# What nginx answers itself, beside Kong or not: of a page's path the first folder is none of these.
OWN_FOLDERS = frozenset({".well-known", "api", "healthz", "portal", "refused", "v1"})


def ingress_pages(node: Node, nodes: Sequence[Node] = ()) -> list[dict[str, Any]]:
    """Return the pages behind the nginx of a node (an entry of `cluster_nodes`), sorted by service.

    `nodes`: all of them, whose pages `at: gateway` are also a gateway's; without them only those of the node.
    A page at / is none of them: that is where nginx has its own.
    Raises SiteError for a path that does not end with /, that nginx has itself, or that two pages share.
    """
    pages: dict[str, dict[str, Any]] = {}
    for there in candidates(node, nodes):
        for service, entry in there["services"].items():
            if page := page_behind(node, there, service, entry):
                pages.setdefault(service, page)
    taken: dict[str, str] = {}
    for service, page in sorted(pages.items()):
        wrong = f"path {page['path']!r} of the page of service {service} on {page['node']}"
        if not page["path"].endswith("/"):
            raise SiteError(
                f"{wrong}: must end with /, because nginx serves what is below it; correct it in "
                f"{file_of(service)}"
            )
        if page["path"].split("/")[1] in OWN_FOLDERS:
            raise SiteError(
                f"{wrong}: must not be in a folder of nginx itself, which are "
                f"{', '.join(f'/{one}/' for one in sorted(OWN_FOLDERS))}; change it in {file_of(service)}"
            )
        other = taken.setdefault(page["path"], service)
        if other != service:
            raise SiteError(
                f"{wrong}: must be its own, and {other} has it, too; change it in {file_of(service)}"
            )
    return [pages[service] for service in sorted(pages)]


def candidates(node: Node, nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield the nodes whose pages a node may serve; of a service's several pages the first is served."""
    yield node
    if GATEWAY_SERVICE in node["services"]:
        others = [other for other in nodes if other["host"] != node["host"]]
        # What runs in the monitoring tier as well watches the others, as the second Prometheus does.
        yield from sorted(others, key=lambda other: other["tier"] == "monitoring")


def page_behind(node: Node, there: Node, service: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the page of a service on `there` as the nginx of `node` serves it; None if it does not."""
    at = "gateway" if GATEWAY_SERVICE in node["services"] else "node"
    page, ingress = entry.get("dashboard"), entry.get("ingress") or {"at": None}
    if not page or ingress["at"] != at or (path := ingress.get("path", page["path"])) == "/":
        return None
    port, here = entry["ports"][page["port"]], node is there
    return {
        "service": service,
        "node": there["name"],
        "host": there["host"],
        "title": page.get("title", service),
        "path": path,
        "opens": path[:-1] + page["path"] if "path" in ingress else path,
        # Containers of one node know each other by name.
        "address": service if here else there["address"],
        "port": port["container" if here else "port"],
        "login": ingress.get("login", LOGIN),
        "login_path": ingress.get("login_path"),
        "strip": "path" in ingress,
        "websocket": ingress.get("websocket", False),
        "network": ingress.get("network"),
        "profiles": profiles_of(service, there),
    }


def service_page(nodes: Sequence[Node], service: str, name: str | None = None) -> dict[str, Any]:
    """Return how people open the page of a service, on the node `name` or on any; {} if they cannot.

    url; path, its end; login, see `ingress`; front: the host whose nginx serves it, None at its own port.
    """
    for front in [node for node in nodes if INGRESS in node["services"]]:
        ports = front["services"][INGRESS]["ports"]
        port = ports["https" if ports["https"]["from"] else "http"]
        for page in ingress_pages(front, nodes) if is_for_people(port) else []:
            if page["service"] == service and name in (None, page["node"]):
                return opened(front, port, page["opens"]) | {"front": front["host"], "login": page["login"]}
    for there in [node for node in nodes if name in (None, node["name"])]:
        entry = there["services"].get(service, {})
        if page := entry.get("dashboard"):
            port = entry["ports"][page["port"]]
            if is_for_people(port):
                return opened(there, port, page["path"]) | {"front": None, "login": LOGIN}
    return {}


def is_for_people(port: Mapping[str, Any]) -> bool:
    """Tell whether anybody but nodes may reach a port."""
    return is_open(port, "operators")


def opened(node: Node, port: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return the address of a page at a port of a node."""
    return {"url": f"{scheme_of(port)}://{node['address']}:{port['port']}{path}", "path": path}
