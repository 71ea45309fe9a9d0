"""A stand-in answers what this project asks of the service: Prometheus, health checks, Kong and people.

What the check of a service asks is asked of its stand-in by `bin/verify`, in every run of the lab.
"""

import re
from pathlib import Path

import pytest
import standing_in
import tree
from aiohttp import web
from standing_in import PASSCODE

# Pool of Kong -> who stands in behind it.
POOLS = {"image": "comfyui", "quality": "sonarqube"}


def servers(service: str, folder: Path) -> dict[str, web.Application]:
    """Port of the catalogue -> server of a stand-in."""
    if service == "postgrest":
        return standing_in.postgrest()
    if service == "sonarqube":
        return {"web": standing_in.sonarqube()}
    return {"ui": standing_in.comfyui(folder)}


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
