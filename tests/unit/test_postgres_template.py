"""What the role `postgres` puts on its node."""

from typing import Any

import pytest
from render import compose_of, made_up_secrets, render_role

PI52 = "192.168.1.247"
HOME = "/opt/aicluster/postgres"


def files(**entry: Any) -> dict[str, str]:
    """Path -> text; `entry` replaces keys of the catalogue entry."""
    rendered: dict[str, str] = render_role("postgres", "production", PI52, entry=entry)
    return rendered


def settings(text: str) -> dict[str, str]:
    lines = [line.split(" = ", 1) for line in text.splitlines() if " = " in line and not line.startswith("#")]
    return {name: value.strip("'") for name, value in lines}


def rules(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def container() -> dict[str, Any]:
    merged: dict[str, Any] = compose_of("postgres", inventory="production", host=PI52)["services"]["postgres"]
    return merged


def test_it_never_runs_as_root_and_has_no_capability():
    rendered = container()
    assert rendered["user"] == "999:999"
    assert rendered["cap_drop"] == ["ALL"] and "cap_add" not in rendered
    assert rendered["read_only"]


def test_what_it_must_write_is_writable_for_its_user():
    rendered = container()
    assert "postgres:/var/lib/postgresql/data" in rendered["volumes"]
    run = next(mount for mount in rendered["tmpfs"] if mount.startswith("/var/run/postgresql:"))
    assert "uid=999,gid=999" in run
    assert any(mount.startswith("/tmp:") for mount in rendered["tmpfs"]), "an override must not lose /tmp"


def test_the_password_is_a_file_and_nowhere_else():
    rendered = files()
    password = made_up_secrets()["postgres_password"]
    assert rendered[f"{HOME}/secrets/password"].strip() == password
    others = [path for path, text in rendered.items() if password in text]
    assert others == [f"{HOME}/secrets/password"]
    assert container()["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"


def test_it_is_reachable_on_the_lan_address_only():
    assert container()["ports"] == [f"{PI52}:5432:5432"]


@pytest.mark.parametrize(
    ("memory_mb", "shared", "sort", "maintenance"),
    [
        pytest.param(1024, "256MB", "4369kB", "64MB", id="1 GB"),
        pytest.param(4096, "1024MB", "17476kB", "256MB", id="4 GB"),
        pytest.param(128, "32MB", "1024kB", "16MB", id="the smallest values still work"),
    ],
)
def test_buffers_follow_the_memory_of_the_catalogue(memory_mb, shared, sort, maintenance):
    rendered = files(memory_mb=memory_mb)
    found = settings(rendered[f"{HOME}/conf/postgresql.conf"])
    assert (found["shared_buffers"], found["work_mem"], found["maintenance_work_mem"]) == (
        shared,
        sort,
        maintenance,
    )
    assert f'shm_size: "{memory_mb // 4}m"' in rendered[f"{HOME}/compose.yaml"]


def test_all_sorts_and_the_cache_together_leave_half_of_the_memory():
    found = settings(files()[f"{HOME}/conf/postgresql.conf"])
    sorts = int(found["max_connections"]) * int(found["work_mem"].removesuffix("kB")) / 1024
    assert sorts + int(found["shared_buffers"].removesuffix("MB")) <= 1024 / 2


class TestWhoGetsIn:
    def test_the_tiers_of_the_catalogue_and_the_containers_of_the_node(self):
        hosts = [rule[3] for rule in rules(files()[f"{HOME}/conf/pg_hba.conf"]) if rule[0] == "host"]
        assert hosts == ["samenet", "192.168.1.147/32", "192.168.1.154/32", "192.168.1.157/32"]

    def test_everybody_from_the_network_needs_a_password(self):
        text = files(ports=port(["lan"]))[f"{HOME}/conf/pg_hba.conf"]
        assert {rule[-1] for rule in rules(text) if rule[0] == "host"} == {"scram-sha-256"}

    def test_only_the_systems_own_user_gets_in_without_one(self):
        found = [rule for rule in rules(files()[f"{HOME}/conf/pg_hba.conf"]) if rule[-1] != "scram-sha-256"]
        assert found == [["local", "all", "postgres", "peer"]]

    @pytest.mark.parametrize(
        ("reach", "hosts"),
        [
            pytest.param([], ["samenet"], id="nobody on the network"),
            pytest.param(
                ["localhost"], ["samenet"], id="the node itself comes through the container network"
            ),
            pytest.param(["backend"], ["samenet"], id="its own tier is the node itself"),
            pytest.param(["gateway"], ["samenet", "192.168.1.147/32"], id="one tier"),
            pytest.param(["lan"], ["samenet", "192.168.1.0/24"], id="the whole network"),
        ],
    )
    def test_follows_the_catalogue(self, reach, hosts):
        text = files(ports=port(reach))[f"{HOME}/conf/pg_hba.conf"]
        assert [rule[3] for rule in rules(text) if rule[0] == "host"] == hosts


def port(reach: list[str]) -> dict[str, Any]:
    return {"sql": {"port": 5432, "container": 5432, "from": reach}}
