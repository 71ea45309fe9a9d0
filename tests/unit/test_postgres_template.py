"""What the role `postgres` puts on its node."""

import re
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


@pytest.mark.parametrize("image", ["postgres:17.11", "postgres:18.6", "registry.example:5000/postgres:18.6"])
def test_the_data_is_in_the_volume_whatever_the_version_of_the_image(image):
    """From 18 on the image's own PGDATA and volume are elsewhere: an empty database, and no error."""
    rendered = yaml.safe_load(files(image=image)[f"{HOME}/compose.yaml"])["services"]["postgres"]
    mounts = [volume.split(":")[:2] for volume in rendered["volumes"] if not volume.startswith("/")]
    assert mounts == [["postgres", rendered["environment"]["PGDATA"]]]


@pytest.mark.parametrize(("reach", "hosts"), [
    pytest.param(["localhost", "backend"], [], id="nobody outside the container network"),
    pytest.param(["lan"], ["192.168.1.0/24"], id="the whole network"),
    pytest.param(["gateway", "operators"], ["192.168.1.147/32", "192.168.1.10/32", "10.8.0.0/24"],
        id="a tier and operators"),
])  # fmt: skip
def test_who_gets_in_follows_the_catalogue_and_the_site(reach, hosts):
    overrides = {"site_operators": ["192.168.1.10", "10.8.0.0/24"]}
    ports = {"sql": {"port": 5432, "container": 5432, "from": reach}}
    text = render_role("postgres", "production", PI52, overrides, {"ports": ports})[
        f"{HOME}/conf/pg_hba.conf"
    ]
    found = re.findall(r"^(host\w*) +\S+ +\S+ +(\S+) ", text, re.MULTILINE)
    others = ["192.168.1.154/32", *hosts]
    assert found == [("host", "samenet"), *(("hostssl", network) for network in others)]


def asked_for(lacking: tuple[str, ...] = (), **databases: list[str]) -> dict[str, str]:
    """The role's files in a site where these services ask for these databases."""
    site = without(*(name for name, entry in catalogue().items() if "databases" in entry), *lacking)
    site["cluster_nodes"][0]["services"] |= {
        name: {"image": None, "ports": {}, "databases": names} for name, names in databases.items()
    }
    secrets = {f"{name}_db_password": f"made-up {name}" for names in databases.values() for name in names}
    overrides = site | {"site_secrets": made_up_secrets() | secrets}
    result: dict[str, str] = render_role("postgres", "production", PI52, overrides=overrides)
    return result


def test_every_database_has_a_role_and_a_password_wherever_its_service_runs():
    found = asked_for(web=["web", "queue"])
    assert found[f"{HOME}/secrets/roles"].strip().splitlines() == [
        "queue made-up queue",
        "web made-up web",
        f"authenticator {made_up_secrets()['postgrest_db_password']}",
        f"monitor {made_up_secrets()['postgres_monitor_password']}",
        f"replication {made_up_secrets()['postgres_replication_password']}",
    ]
    lines = found[f"{HOME}/provision"].splitlines()
    assert [one for one in lines if one.startswith(("role ", "database "))] == [
        "role queue", "database queue", "role web", "database web",
        "role authenticator", "role monitor", "role replication",
    ]  # fmt: skip


@pytest.mark.parametrize(("lacking", "databases", "roles"), [
    pytest.param((), ["web"], "web,authenticator,monitor,replication", id="all"),
    pytest.param(("postgres_exporter",), ["web"], "web,authenticator,replication", id="no exporter"),
    pytest.param(("postgres_exporter", "postgrest"), [], "replication", id="nobody asks for one"),
])  # fmt: skip
def test_roles_that_nobody_names_any_more_may_not_sign_in(lacking, databases, roles):
    found = asked_for(lacking, web=databases)
    assert re.search(rf"<> ALL.*'{{{roles}}}'", found[f"{HOME}/provision"])
    given = [line.split()[0] for line in found[f"{HOME}/secrets/roles"].splitlines() if line]
    assert ",".join(given) == roles
