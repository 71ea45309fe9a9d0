"""A stand-in does what ships against it: the check of its service, and every path that is asked."""

import json
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import standing_in
import tree
from a_kit import check_of
from aiohttp import web
from by_path import import_file
from standing_in import CHECKPOINT, GATEWAY, OPERATORS, PASSCODE, PASSWORD, KitBeside

CONF = 'db-uri = "postgresql://authenticator:x@postgres:5432/aicluster"'
SECRETS = {"admin_password": PASSWORD, "passcode": PASSCODE, "postgrest.conf": CONF}
# Pool of Kong -> who stands in behind it.
POOLS = {"image": "comfyui", "quality": "sonarqube"}


async def up(_request: web.Request) -> web.Response:
    """What the Prometheus behind Grafana answers."""
    return web.json_response({"status": "success", "data": {"result": [{}]}})


@pytest.fixture
def prometheus():
    behind = web.Application()
    behind.router.add_get("/api/v1/query", up)
    with standing_in.listening(behind) as url:
        yield url


def servers(service: str, folder: Path) -> dict[str, web.Application]:
    """Port of the catalogue -> server of a stand-in."""
    match service:
        case "comfyui":
            return {"ui": standing_in.comfyui(folder)}
        case "sonarqube":
            return {"web": standing_in.sonarqube()}
        case "postgrest":
            return standing_in.postgrest()
    return {"web": standing_in.grafana(standing_in.provisioned(folder))}


# --- checks ---


def seen(service: str, servers: dict[str, web.Application], ask: Any = None, printed: str = "") -> Any:
    """What the check of a service, or another program for its kit, says of a stand-in."""
    with ExitStack() as stack:
        urls = {port: stack.enter_context(standing_in.listening(one)) for port, one in servers.items()}
        return (ask or check_of(service).check)(KitBeside(urls, SECRETS, printed))


def test_comfyui_makes_the_picture_of_its_check_and_nothing_is_left(tmp_path, monkeypatch):
    check = check_of("comfyui")
    (tmp_path / "wanted").write_text(json.dumps({"gpu": True, "checkpoints": [CHECKPOINT]}))
    monkeypatch.setattr(check, "WANTED", str(tmp_path / "wanted"))
    found = seen("comfyui", {"ui": standing_in.comfyui(tmp_path, device="cuda")}, check.check)
    assert found.endswith("computes on cuda; all of 1 checkpoints")
    assert not list((tmp_path / "output").iterdir())


def test_comfyui_saves_the_picture_that_is_moved_to_the_store(tmp_path):
    check = check_of("comfyui_outputs")
    found = seen("comfyui", servers("comfyui", tmp_path), lambda kit: check.image_of(kit, "verify"))
    assert found == {"filename": "verify_00001_.png", "subfolder": "", "type": "output"}


def test_comfyui_goes_to_rest_before_it_is_stopped(tmp_path):
    rest = import_file("roles/comfyui/templates/opt/aicluster/rest/comfyui.py", "rest_comfyui").rest
    assert seen("comfyui", servers("comfyui", tmp_path), rest).startswith("nothing ran, 0 waiting jobs")


@pytest.mark.parametrize("service", ["sonarqube", "postgrest"])
def test_a_check_finds_it_well(service, tmp_path):
    assert seen(service, servers(service, tmp_path))


@pytest.mark.parametrize("host", [OPERATORS, GATEWAY], ids=["with a login", "for visitors, below a path"])
def test_grafana_has_every_dashboard_and_asks_prometheus(host, tmp_path, prometheus, monkeypatch):
    folder = standing_in.provisioned(tmp_path, host)
    sources = folder / "provisioning/datasources/all.yml"
    sources.write_text(re.sub(r"url: http://\S+:9090", f"url: {prometheus}", sources.read_text(), count=1))
    check = check_of("grafana")
    monkeypatch.setattr(check, "DASHBOARDS", str(folder / "dashboards"))
    url = "http://x/grafana/" if host == GATEWAY else "http://x/"
    found = seen("grafana", {"web": standing_in.grafana(folder, host)}, check.check, url)
    shipped = len(list((tree.ROOT / "roles/grafana/files/dashboards").iterdir()))
    assert found.startswith(f"admin logs in, {shipped} dashboards, 1 targets seen")


# --- paths ---


def asked() -> set[tuple[str, str, str, str]]:
    """(service, port, method, path) of what Prometheus, health checks, Kong and people ask."""
    catalogue = tree.catalogue()
    found = set()
    for service in (*POOLS.values(), "postgrest"):
        entry = catalogue[service]
        port = next(iter(entry["ports"]))
        health = re.findall(r"http://127\.0\.0\.1:\d+(/[^' ]*)", str(entry["health"]))
        found |= {(service, port, "GET", path) for path in health}
        if page := entry["metrics"]:
            found.add((service, page["port"], "GET", page["path"]))
        if "dashboard" in entry:
            # nginx takes a path of its own away.
            found.add((service, entry["dashboard"]["port"], "GET", "/"))
    kong = tree.load("roles/kong/vars/main.yml")
    ways = [(pool["name"], "GET", pool["check"]) for pool in kong["__kong_pools"]]
    for route in kong["__kong_routes"]:
        # Behind a path that ends with a slash comes the rest of the request's.
        methods = ["GET"] if route["upstream_path"] == "/" else route["methods"]
        ways += [(route["pool"], method, route["upstream_path"]) for method in methods]
    for pool, method, path in ways:
        if pool in POOLS:
            found.add((POOLS[pool], next(iter(catalogue[POOLS[pool]]["ports"])), method, path))
    return found


@pytest.mark.parametrize(("service", "port", "method", "path"), sorted(asked()))
def test_what_is_asked_is_answered(service, port, method, path, tmp_path):
    headers = {"Authorization": f"Bearer {PASSCODE}"} if "monitoring" in path else {}
    answer = standing_in.ask(servers(service, tmp_path)[port], path, method, headers=headers)
    needs_more = method == "POST" or path in ("/view", "/ws")
    assert answer.status == (400 if needs_more else 200), answer.text
