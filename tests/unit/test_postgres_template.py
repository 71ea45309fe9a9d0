"""What the role `postgres` puts on its node."""

import re
import subprocess
from typing import Any

import pytest
import yaml
from render import made_up_secrets, render_role, without
from tree import catalogue

PI52 = "192.168.1.247"
HOME = "/opt/aicluster/postgres"


def files(**entry: Any) -> dict[str, str]:
    """Path -> text; `entry` replaces keys of the catalogue entry."""
    rendered: dict[str, str] = render_role("postgres", "production", PI52, entry=entry)
    return rendered


def settings(rendered: dict[str, str]) -> dict[str, str]:
    """Of both files: what counts from a start on, and what the database reads again."""
    text = rendered[f"{HOME}/conf/postgresql.conf"] + rendered[f"{HOME}/conf/settings.conf"]
    lines = [line.split(" = ", 1) for line in text.splitlines() if " = " in line and not line.startswith("#")]
    return {name: value.strip("'") for name, value in lines}


def rules(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("image", ["postgres:17.11", "postgres:18.6", "registry.example:5000/postgres:18.6"])
def test_the_data_is_in_the_volume_whatever_the_version_of_the_image(image):
    """From 18 on the image's own PGDATA and volume are elsewhere: an empty database, and no error."""
    rendered = yaml.safe_load(files(image=image)[f"{HOME}/compose.yaml"])["services"]["postgres"]
    mounts = [volume.split(":")[:2] for volume in rendered["volumes"] if not volume.startswith("/")]
    assert mounts == [["postgres", rendered["environment"]["PGDATA"]]]


@pytest.mark.parametrize(("memory_mb", "expected"), [
    pytest.param(1024, ["256MB", "4369kB", "64MB"], id="1 GB"),
    pytest.param(4096, ["1024MB", "17476kB", "256MB"], id="4 GB"),
    pytest.param(128, ["32MB", "1024kB", "16MB"], id="the smallest values still work"),
])  # fmt: skip
def test_buffers_follow_the_memory_of_the_catalogue(memory_mb, expected):
    rendered = files(memory_mb=memory_mb)
    found = settings(rendered)
    assert [found[name] for name in ("shared_buffers", "work_mem", "maintenance_work_mem")] == expected
    assert f'shm_size: "{memory_mb // 4}m"' in rendered[f"{HOME}/compose.yaml"]


def test_all_sorts_and_the_cache_together_leave_half_of_the_memory():
    found = settings(files())
    sorts = int(found["max_connections"]) * int(found["work_mem"].removesuffix("kB")) / 1024
    assert sorts + int(found["shared_buffers"].removesuffix("MB")) <= 1024 / 2


class TestWhoGetsIn:
    @pytest.mark.parametrize(
        ("reach", "hosts"),
        [
            pytest.param([], ["samenet"], id="nobody on the network"),
            pytest.param(["localhost"], ["samenet"], id="the node itself is in the container network"),
            pytest.param(["backend"], ["samenet"], id="its own tier is the node itself"),
            pytest.param(["lan"], ["samenet", "192.168.1.0/24"], id="the whole network"),
            pytest.param(
                ["gateway", "operators"],
                ["samenet", "192.168.1.147/32", "192.168.1.10/32", "10.8.0.0/24"],
                id="a tier and operators",
            ),
        ],
    )
    def test_follows_the_catalogue_and_the_site(self, reach, hosts):
        overrides = {"site_operators": ["192.168.1.10", "10.8.0.0/24"]}
        rendered = render_role("postgres", "production", PI52, overrides, {"ports": port(reach)})
        text = rendered[f"{HOME}/conf/pg_hba.conf"]
        assert [rule[3] for rule in rules(text) if rule[0] == "host"] == hosts


class TestDatabasesOfServices:
    """tests/testinfra asks a real server; here is what the script is given."""

    @staticmethod
    def rendered(lacking: tuple[str, ...] = (), **databases: list[str]) -> dict[str, str]:
        """The role's files in a site where these services ask for these databases."""
        site = without(*(name for name, entry in catalogue().items() if "databases" in entry), *lacking)
        site["cluster_nodes"][0]["services"] |= {
            name: {"image": None, "ports": {}, "databases": names} for name, names in databases.items()
        }
        secrets = {f"{name}_db_password": f"made-up {name}" for names in databases.values() for name in names}
        overrides = site | {"site_secrets": made_up_secrets() | secrets}
        result: dict[str, str] = render_role("postgres", "production", PI52, overrides=overrides)
        return result

    def test_every_database_has_a_role_and_a_password_wherever_its_service_runs(self):
        found = self.rendered(web=["web", "queue"])
        assert found[f"{HOME}/secrets/roles"].strip().splitlines() == [
            "queue made-up queue",
            "web made-up web",
            f"authenticator {made_up_secrets()['postgrest_db_password']}",
            f"monitor {made_up_secrets()['postgres_monitor_password']}",
        ]
        script = found[f"{HOME}/provision"].splitlines()
        made = ["role queue", "database queue", "role web", "database web", "role authenticator"]
        assert [one for one in script if one.startswith(("role ", "database "))] == [*made, "role monitor"]

    def test_roles_that_nobody_names_any_more_may_not_sign_in(self):
        script = self.rendered(web=["web"])[f"{HOME}/provision"]
        assert re.search(r"<> ALL.*'{web,authenticator,monitor}'", script)

    def test_without_the_exporter_there_is_no_role_for_it(self):
        found = self.rendered(lacking=("postgres_exporter",), web=["web"])
        assert "monitor" not in found[f"{HOME}/secrets/roles"]
        assert "role monitor" not in found[f"{HOME}/provision"]
        assert "'{web,authenticator}'::text[]" in found[f"{HOME}/provision"]

    def test_a_site_that_asks_for_none_gets_a_script_that_is_one(self):
        found = self.rendered(lacking=("postgres_exporter", "postgrest"))
        assert f"{HOME}/secrets/roles" not in found
        assert "'{}'::text[]" in found[f"{HOME}/provision"]

    def test_without_postgrest_there_is_neither_role_nor_schema(self):
        found = self.rendered(lacking=("postgrest",))
        assert not [path for path, text in found.items() if "authenticator" in text or "postgrest" in text]


class TestHealth:
    """The script of the health check, with the database's tools made up."""

    @pytest.fixture
    def healthy(self, tmp_path):
        """Run the script; it says what it did. The folder holds `up` and `fails` as told, and the memory."""
        for name, script in {
            "pg_isready": f"test -e {tmp_path}/up",
            "provision": f"echo provisioned; test ! -e {tmp_path}/fails",
        }.items():
            tool = tmp_path / name
            tool.write_text(f"#!/bin/sh\n{script}\n")
            tool.chmod(0o755)
        text = files()[f"{HOME}/healthy"]
        assert text.count("/opt/aicluster/provision\n") == 1
        text = text.replace("/opt/aicluster/provision\n", f"{tmp_path}/provision\n")
        text = text.replace("/tmp/provisioned", f"{tmp_path}/provisioned")

        def run() -> tuple[bool, str]:
            environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
            done = subprocess.run(["sh", "-c", text], env=environment, capture_output=True, check=False)
            return done.returncode == 0, done.stdout.decode().strip()

        return run

    def test_a_database_that_does_not_answer_is_not_provisioned(self, healthy):
        assert healthy() == (False, "")

    def test_one_that_answers_is_provisioned_once_in_its_life(self, healthy, tmp_path):
        (tmp_path / "up").touch()
        assert [healthy(), healthy()] == [(True, "provisioned"), (True, "")]

    def test_one_that_cannot_be_provisioned_is_not_healthy_until_it_can(self, healthy, tmp_path):
        (tmp_path / "up").touch()
        (tmp_path / "fails").touch()
        assert [healthy(), healthy()] == [(False, "provisioned")] * 2
        (tmp_path / "fails").unlink()
        assert healthy() == (True, "provisioned")


def port(reach: list[str]) -> dict[str, Any]:
    return {"sql": {"port": 5432, "container": 5432, "from": reach}}
