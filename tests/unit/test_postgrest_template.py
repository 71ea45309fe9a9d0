"""What PostgREST is told: where the database is, as whom, and which schema."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
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


def container() -> dict[str, Any]:
    found: dict[str, Any] = render.compose_of("postgrest")["services"]["postgrest"]
    return found


def test_on_the_same_node_the_database_has_the_name_of_its_container():
    found = urlsplit(config().uri)
    assert (found.scheme, found.hostname, found.port, found.path) == (
        "postgresql",
        "postgres",
        5432,
        "/aicluster",
    )


def test_on_another_node_it_has_its_address_and_nothing_here_waits_for_it():
    found, compose = away()
    assert urlsplit(found.uri).hostname == "192.168.1.154"
    assert "depends_on" not in compose["services"]["postgrest"]


@pytest.mark.parametrize("password", ["plain", "a/b", "a@b:c", "100%", 'quote"', "back\\slash", "$(x) #é"])
def test_any_password_is_a_part_of_the_address(password):
    secrets = {**render.made_up_secrets(), "postgrest_db_password": password}
    found = config(overrides={"site_secrets": secrets}).uri
    userinfo = found.removeprefix("postgresql://").partition("@")[0]
    assert found.count("@") == 1 and userinfo.count("/") == 0
    assert [unquote(part) for part in userinfo.split(":")] == ["authenticator", password]


def test_it_serves_one_schema_to_one_anonymous_role():
    found = config()
    assert (found.schema, found.anonymous, found.max_rows) == ("api", "web_anon", 1000)


def test_the_database_is_that_of_the_site():
    assert config(overrides={"site_database": "other"}).uri.endswith("/other")


def test_the_password_is_in_its_file_only():
    password = render.made_up_secrets()["postgrest_db_password"]
    files = render.render_role("postgrest")
    assert [path for path, text in files.items() if password in text] == [CONF]
    assert "environment" not in container()


def test_its_health_check_can_ask_itself():
    inside = CONF.replace("/opt/aicluster/postgrest/secrets", "/run/secrets/postgrest")
    found = container()
    assert found["command"] == ["/bin/postgrest", inside]
    assert found["healthcheck"]["test"] == ["CMD", "/bin/postgrest", "--ready", inside]
    assert config().ready_url() == "http://0.0.0.0:3001/ready"


def test_it_starts_when_the_database_knows_its_password():
    assert container()["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_it_writes_nowhere_and_may_do_nothing():
    found = container()
    assert found["read_only"] and found["user"] == "64102:64102" and found["cap_drop"] == ["ALL"]
    assert all(volume.endswith(":ro") for volume in found["volumes"])
