"""Which pages of services the nginx of a node serves, and how."""

from collections.abc import Mapping
from typing import Any

from ..errors import SiteError
from .catalogue import file_of
from .nodes import profiles_of

# A node that runs it is a gateway.
GATEWAY_SERVICE = "kong"
LOGIN = "own"


def password_of(service: str) -> str:
    """Return the secret that nginx asks for where a page has no login."""
    return f"{service}_password"


def ingress_pages(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the pages behind the nginx of a node (an entry of `cluster_nodes`), sorted by service.

    A page at / is none of them: that is where nginx has its own.
    Raises SiteError for a path that does not end with /, and for paths and users that two pages share.
    """
    at = "gateway" if GATEWAY_SERVICE in node["services"] else "node"
    pages = []
    taken: dict[str, str] = {}
    for service, entry in sorted(node["services"].items()):
        page, ingress = entry.get("dashboard") or {"path": "/"}, entry.get("ingress") or {"at": None}
        if ingress["at"] != at or page["path"] == "/":
            continue
        found = {
            "service": service,
            "title": page.get("title", service),
            "path": page["path"],
            "port": entry["ports"][page["port"]]["container"],
            "login": ingress.get("login", LOGIN),
            "user": ingress.get("user", service),
            "password": password_of(service),
            "login_path": ingress.get("login_path"),
            "strip": ingress.get("strip", False),
            "websocket": ingress.get("websocket", False),
            "network": ingress.get("network"),
            "profiles": profiles_of(service, node),
        }
        # One file holds all users: of two with one name only the first could log in.
        unique = {"dashboard.path": found["path"]}
        if found["login"] == "basic":
            unique["ingress.user"] = found["user"]
        for key, value in unique.items():
            wrong = f"{key} of service {service} on {node['name']} {value!r}"
            other = taken.setdefault(value, service)
            if other != service:
                raise SiteError(f"{wrong}: is that of {other}, too; change it in {file_of(service)}")
        if not found["path"].endswith("/"):
            raise SiteError(
                f"dashboard.path of service {service} on {node['name']} {found['path']!r}: must end with /, "
                f"because nginx serves what is below it; correct it in {file_of(service)}"
            )
        pages.append(found)
    return pages
