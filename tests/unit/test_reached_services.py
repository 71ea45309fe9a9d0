"""Who works with a database or a store is told where that runs, wherever it was moved to."""

import json
import re
from typing import Any

import pytest
import render
from tables import cases

# Role -> its file, and what it reaches by that.
FILES: dict[str, tuple[str, Any]] = {
    "comfyui_outputs": ("secrets/rclone.conf", lambda text: re.findall("endpoint = https://(.+)", text)),
    "pgadmin": ("servers.json",
        lambda text: [f"{one['Host']}:{one['Port']}" for one in json.loads(text)["Servers"].values()]),
    "postgrest": ("secrets/postgrest.conf", lambda text: re.findall("postgresql://.+@([^/]+)/", text)),
    "redis_commander": ("secrets/local-production.json",
        lambda text: [f"{one['host']}:{one['port']}" for one in json.loads(text)["connections"]]),
}  # fmt: skip


def port(name: str, published: int, inside: int, *audience: str) -> dict[str, Any]:
    return {name: {"port": published, "container": inside, "from": list(audience)}}


STORE = port("api", 9000, 9001)


@cases(("role", "service", "node", "ports", "addresses"), {
    "a store on another node at its published port": (
        "comfyui_outputs", "minio", "PI52", STORE, ["192.168.1.247:9000"]),
    "a store on the same node by the name in its certificate": (
        "comfyui_outputs", "minio", "ORIN0", STORE, ["minio.orin0.local:9001"]),
    "a database for an API": (
        "postgrest", "postgres", "AGX0", port("sql", 5432, 5432), ["192.168.1.154:5432"]),
    "a database for operators": (
        "pgadmin", "postgres", "AGX0", port("sql", 5433, 5432, "backend"), ["192.168.1.154:5433"]),
    "no database that does not let this node in": (
        "pgadmin", "postgres", "AGX0", port("sql", 5433, 5432, "gateway"), []),
    "a Redis for operators": (
        "redis_commander", "redis", "PI51", port("redis", 6380, 6379, "backend"), ["192.168.1.147:6380"]),
})  # fmt: skip
def test_a_service_is_told_of(role, service, node, ports, addresses):
    site = render.moved(service, node, ports=ports)
    path, reached = FILES[role]
    assert reached(render.render_role(role, overrides=site)[f"/opt/aicluster/{role}/{path}"]) == addresses
    waits_for = render.container(role, overrides=site).get("depends_on", {})
    assert service not in waits_for, "compose refuses what does not run beside it"


# Role, its node, and its file with the way to PostgreSQL.
CLIENTS = {
    "postgrest": ("PI52", "secrets/postgrest.conf"),
    "sonarqube": ("ORIN0", "secrets/sonar.properties"),
    "pgadmin": ("PI52", "servers.json"),
}


@pytest.mark.parametrize(("role", "node", "path"), [(role, *row) for role, row in CLIENTS.items()])
def test_a_database_on_another_node_is_asked_with_tls_and_its_certificate_is_verified(role, node, path):
    ports = port("sql", 5432, 5432, "backend")
    for at, mode in (("AGX0", "verify-full"), (node, "disable")):
        files = render.render_role(role, overrides=render.moved("postgres", at, ports=ports))
        assert re.findall(r"sslmode\W+([a-z-]+)", files[f"/opt/aicluster/{role}/{path}"]) == [mode]
        [ca] = [text for name, text in files.items() if name.endswith("/ca.crt")]
        assert ca.startswith("-----BEGIN CERTIFICATE-----") and ca.endswith("-----END CERTIFICATE-----\n")


@pytest.mark.parametrize(("node", "tls"), [("PI51", True), ("PI52", False)])
def test_a_redis_on_another_node_is_asked_with_tls_and_its_certificate_is_verified(node, tls):
    ports = port("redis", 6379, 6380, "backend") | port("local", 6379, 6379)
    files = render.render_role("redis_commander", overrides=render.moved("redis", node, ports=ports))
    text = files["/opt/aicluster/redis_commander/secrets/local-production.json"]
    [connection] = json.loads(text)["connections"]
    assert ("BEGIN CERTIFICATE" in connection.get("tls", {}).get("ca", "")) == tls
    # The server listens with TLS only where somebody is to reach it.
    for audience in ([], ["gateway"]):
        own = render.render_role("redis", entry={"ports": ports | port("redis", 6379, 6380, *audience)})
        assert ("tls-port 6380\n" in own["/opt/aicluster/redis/secrets/redis.conf"]) == bool(audience)
        assert ("/opt/aicluster/redis/secrets/tls.pem" in own) == bool(audience)
