"""What PostgREST is told: where the database is, as whom, and which schema."""

from typing import Any
from urllib.parse import urlsplit

import render
import yaml
from standins.postgrest.postgrest_standin.config import Config

CONF = "/opt/aicluster/postgrest/secrets/postgrest.conf"


def config(**where: Any) -> Config:
    """Its configuration, as the stand-in reads it: an unknown name would be refused."""
    return Config.of(render.render_role("postgrest", **where)[CONF])


def away() -> tuple[Config, dict[str, Any]]:
    """Configuration and container where PostgreSQL runs on another node."""
    [host] = render.hosts_running("postgrest")
    renderer = render.renderer("production", host)
    nodes = [{**node, "services": dict(node["services"])} for node in renderer.shared["cluster_nodes"]]
    [here] = [node for node in nodes if node["host"] == host]
    there = next(node for node in nodes if node["name"] == "AGX0")
    there["services"]["postgres"] = here["services"].pop("postgres")
    files = render.render_role(
        "postgrest", host=host, overrides={"cluster_nodes": nodes, "cluster_node": here}
    )
    return Config.of(files[CONF]), yaml.safe_load(files["/opt/aicluster/postgrest/compose.yaml"])


def test_on_another_node_it_has_its_address_and_nothing_here_waits_for_it():
    found, compose = away()
    assert urlsplit(found.uri).hostname == "192.168.1.154"
    assert "depends_on" not in compose["services"]["postgrest"]


def test_the_database_is_that_of_the_site():
    assert config(overrides={"site_database": "other"}).uri.endswith("/other")


def test_it_starts_when_the_database_knows_its_password():
    assert render.container("postgrest")["depends_on"] == {"postgres": {"condition": "service_healthy"}}
