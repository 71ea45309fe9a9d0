"""What the role `postgres` puts on its node."""

from typing import Any

import pytest
import yaml
from render import cluster, compose_of, made_up_secrets, render_role

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
    assert container()["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres/password"
    assert f"{HOME}/secrets:/run/secrets/postgres:ro" in container()["volumes"]


@pytest.mark.parametrize("image", ["postgres:17.11", "postgres:18.6", "registry.example:5000/postgres:18.6"])
def test_the_data_is_in_the_volume_whatever_the_version_of_the_image(image):
    """From 18 on the image's own PGDATA and volume are elsewhere: an empty database, and no error."""
    rendered = yaml.safe_load(files(image=image)[f"{HOME}/compose.yaml"])["services"]["postgres"]
    mounts = [volume.split(":")[:2] for volume in rendered["volumes"] if not volume.startswith("/")]
    assert mounts == [["postgres", rendered["environment"]["PGDATA"]]]


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


class TestDatabasesOfServices:
    """tests/testinfra asks a real server; here is what the script is given."""

    @staticmethod
    def rendered(without: tuple[str, ...] = (), **databases: list[str]) -> dict[str, str]:
        """The role's files in a site where these services ask for these databases."""
        nodes = [dict(node) for node in cluster("production")]
        for node in nodes:
            node["services"] = {
                name: {**entry, "databases": []}
                for name, entry in node["services"].items()
                if name not in without
            }
        nodes[0]["services"] |= {
            name: {"image": None, "ports": {}, "databases": names} for name, names in databases.items()
        }
        secrets = {f"{name}_db_password": f"made-up {name}" for names in databases.values() for name in names}
        overrides = {"cluster_nodes": nodes, "site_secrets": made_up_secrets() | secrets}
        result: dict[str, str] = render_role("postgres", "production", PI52, overrides=overrides)
        return result

    def test_every_database_has_a_role_and_a_password_wherever_its_service_runs(self):
        found = self.rendered(web=["web", "queue"])
        assert found[f"{HOME}/secrets/roles"].strip().splitlines() == [
            "queue made-up queue",
            "web made-up web",
            f"monitor {made_up_secrets()['postgres_monitor_password']}",
        ]
        script = found[f"{HOME}/provision"].splitlines()
        assert [line for line in script if line.startswith(("role ", "database "))] == [
            "role queue",
            "database queue",
            "role web",
            "database web",
            "role monitor",
        ]

    def test_their_passwords_are_in_the_secret_file_only(self):
        found = self.rendered(web=["web"])
        assert [path for path, text in found.items() if "made-up web" in text] == [f"{HOME}/secrets/roles"]

    def test_roles_that_nobody_names_any_more_may_not_sign_in(self):
        [line] = [
            line for line in self.rendered(web=["web"])[f"{HOME}/provision"].splitlines() if "<> ALL" in line
        ]
        assert "'{web,monitor}'::text[]" in line

    def test_without_the_exporter_there_is_no_role_for_it(self):
        found = self.rendered(without=("postgres_exporter",), web=["web"])
        assert "monitor" not in found[f"{HOME}/secrets/roles"]
        assert "role monitor" not in found[f"{HOME}/provision"]
        assert "'{web}'::text[]" in found[f"{HOME}/provision"]

    def test_a_site_that_asks_for_none_gets_a_script_that_is_one(self):
        found = self.rendered(without=("postgres_exporter",))
        assert f"{HOME}/secrets/roles" not in found
        assert "'{}'::text[]" in found[f"{HOME}/provision"]


def port(reach: list[str]) -> dict[str, Any]:
    return {"sql": {"port": 5432, "container": 5432, "from": reach}}
