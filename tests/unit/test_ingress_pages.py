"""ingress_pages: what nginx serves follows from what the services beside it declare."""

from typing import Any

import pytest

from aicluster.errors import SiteError
from aicluster.site.ingress import ingress_pages


def page(path: str, **ingress: Any) -> dict[str, Any]:
    dashboard = {"port": "web", "path": path, "title": "Web"}
    ports = {"web": {"port": 8080, "container": 80, "from": []}}
    return {"ports": ports, "dashboard": dashboard, "ingress": {"at": "node", **ingress}}


def paths(**services: dict[str, Any]) -> list[str]:
    found = ingress_pages({"name": "N", "profiles": {}, "services": services})
    return [one["path"] for one in found]


@pytest.mark.parametrize(("services", "expected"), [
    pytest.param({"web": page("/web/")}, ["/web/"], id="the page of a service"),
    pytest.param({"web": page("/web/"), "kong": {}}, [], id="beside Kong no page for other nodes"),
    pytest.param({"web": page("/web/", at="gateway")}, [], id="on other nodes none for the gateway"),
    pytest.param({"web": page("/web/", at="gateway"), "kong": {}}, ["/web/"], id="beside Kong its own"),
    pytest.param({"web": page("/")}, [], id="not a page at the root, where nginx has its own"),
    pytest.param({"web": page("/web/") | {"dashboard": None}}, [], id="none without a page"),
    pytest.param({"web": page("/web/") | {"ingress": None}}, [], id="none that does not ask for it"),
])  # fmt: skip
def test_nginx_serves(services, expected):
    assert paths(**services) == expected


@pytest.mark.parametrize(("services", "message"), [
    pytest.param({"web": page("/web")}, "'/web': must end with /", id="a path that is no folder"),
    pytest.param({"art": page("/web/"), "web": page("/web/")},
        r"dashboard.path of service web on N '/web/': is that of art, too; change it in roles/web/",
        id="two pages at one path"),
    pytest.param({name: page(f"/{name}/", login="basic", user="me") for name in ("art", "web")},
        "ingress.user of service web on N 'me': is that of art, too",
        id="two pages with one user, of whose passwords only one would be asked for"),
])  # fmt: skip
def test_a_mistake_is_named_with_its_rule_and_its_fix(services, message):
    with pytest.raises(SiteError, match=message):
        paths(**services)
