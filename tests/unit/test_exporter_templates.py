"""The exporters beside PostgreSQL and Redis: whom they ask, and how they show who they are."""

import json
from typing import Any

import pytest
from render import compose_of, hosts_running, made_up_secrets, render_role

PI52 = "192.168.1.247"


def container(role: str, host: str = PI52) -> dict[str, Any]:
    merged: dict[str, Any] = compose_of(role, host=host)["services"][role]
    return merged


@pytest.mark.parametrize("role", ["postgres_exporter", "redis_exporter"])
def test_an_exporter_is_reached_at_its_nodes_address_and_needs_nothing(role):
    rendered = container(role)
    assert all(port.startswith(f"{PI52}:") for port in rendered["ports"]) and rendered["ports"]
    assert rendered["read_only"] and rendered["cap_drop"] == ["ALL"]
    limit = int(rendered["mem_limit"].removesuffix("m"))
    assert int(rendered["environment"]["GOMEMLIMIT"].removesuffix("MiB")) < limit


def test_the_exporter_of_postgres_signs_in_as_monitor_with_a_password_from_a_file():
    environment = container("postgres_exporter")["environment"]
    assert environment["DATA_SOURCE_NAME"].startswith("postgresql://monitor@postgres:5432/postgres?")
    name = environment["PGPASSFILE"].rsplit("/", 1)[1]
    files = render_role("postgres_exporter", host=PI52)
    text = files[f"/opt/aicluster/postgres_exporter/secrets/{name}"]
    assert text.strip() == f"*:*:*:monitor:{made_up_secrets()['postgres_monitor_password']}"


@pytest.mark.parametrize("host", hosts_running("redis"))
def test_every_redis_has_an_exporter_that_finds_its_password_under_its_address(host):
    environment = container("redis_exporter", host)["environment"]
    files = render_role("redis_exporter", host=host)
    text = files["/opt/aicluster/redis_exporter/secrets/passwords.json"]
    assert json.loads(text) == {environment["REDIS_ADDR"]: made_up_secrets()["redis_password"]}
    assert environment["REDIS_ADDR"] == "redis://redis:6379"


def test_nobody_can_send_the_exporter_of_redis_to_another_address():
    assert container("redis_exporter")["environment"]["REDIS_EXPORTER_DISABLE_SCRAPE_ENDPOINT"] == "true"


def test_the_password_of_redis_may_hold_signs():
    secrets = {**made_up_secrets(), "redis_password": 'a"b\\c d'}
    files = render_role("redis_exporter", host=PI52, overrides={"site_secrets": secrets})
    [password] = json.loads(files["/opt/aicluster/redis_exporter/secrets/passwords.json"]).values()
    assert password == 'a"b\\c d'
