"""Two servers of PostgreSQL: everything that uses the database follows from the name of one node."""

from typing import Any

import pytest
import render

from aicluster.backup.drills import backup_drills
from aicluster.backup.jobs import backup_jobs
from aicluster.errors import SiteError
from aicluster.site.nodes import service_endpoints
from aicluster.site.replication import pair_up, promotion

HOSTS = {"PI52": "192.168.1.247", "AGX0": "192.168.1.154", "ORIN0": "192.168.1.157"}
HOME = "/opt/aicluster/postgres"


def cluster(primary: str) -> list[dict[str, Any]]:
    """Production, with this node as the primary."""
    nodes = [{**node, "postgres_primary": primary} for node in render.cluster("production")]
    pair_up(nodes)
    return nodes


def rendered(role: str, node: str, primary: str) -> dict[str, str]:
    files: dict[str, str] = render.render_role(
        role, "production", HOSTS[node], {"cluster_nodes": cluster(primary)}
    )
    return files


@pytest.fixture(params=["PI52", "AGX0"], ids="{} is the primary".format)
def primary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def standby(primary: str) -> str:
    return {"PI52": "AGX0", "AGX0": "PI52"}[primary]


def test_clients_are_given_the_primary_alone(primary: str):
    assert [end["node"] for end in service_endpoints(cluster(primary), "postgres", "sql")] == [primary]
    uri = rendered("postgrest", "PI52", primary)["/opt/aicluster/postgrest/secrets/postgrest.conf"]
    assert ("@postgres:5432/" if primary == "PI52" else f"@{HOSTS['AGX0']}:5432/") in uri
    url = rendered("sonarqube", "ORIN0", primary)["/opt/aicluster/sonarqube/secrets/sonar.properties"]
    assert f"//{HOSTS[primary]}:5432/" in url


def test_the_primary_alone_is_backed_up_and_restored_in_drills(primary: str, standby: str):
    nodes = cluster(primary)
    kept = [[job["name"] for job in backup_jobs(nodes, HOSTS[one])["jobs"]] for one in (primary, standby)]
    assert ["postgres" in jobs for jobs in kept] == [True, False]
    drills = backup_drills(nodes, HOSTS["AGX0"])
    assert {drill["node"] for drill in drills if drill["service"] == "postgres"} == {primary}


def test_the_standby_follows_without_a_password_anybody_may_read(primary: str, standby: str):
    files = rendered("postgres", standby, primary)
    told = f"host={HOSTS[primary]} port=5432 user=replication application_name={standby}"
    verified = "sslmode=verify-full sslrootcert=/etc/aicluster/ca.crt"
    assert f"primary_conninfo = '{told} {verified}'" in files[f"{HOME}/conf/settings.conf"]
    assert verified in files[f"{HOME}/server"] and files[f"{HOME}/conf/ca.crt"]
    assert "primary_conninfo" not in rendered("postgres", primary, primary)[f"{HOME}/conf/settings.conf"]
    secret = render.made_up_secrets()["postgres_replication_password"]
    holding = {path for path, text in files.items() if secret in text}
    assert holding == {f"{HOME}/secrets/pgpass", f"{HOME}/secrets/roles"}


def test_each_lets_the_other_one_copy_it_and_its_containers_in(primary: str, standby: str):
    lines = rendered("postgres", primary, primary)[f"{HOME}/conf/pg_hba.conf"].splitlines()
    assert [line.split()[3] for line in lines if " replication " in line] == [f"{HOSTS[standby]}/32"]
    assert any(line.split()[:2] == ["hostssl", "all"] and HOSTS[standby] in line for line in lines)


def test_what_is_kept_for_an_absent_standby_never_fills_the_disk():
    files = render.render_role("postgres", "production", HOSTS["PI52"], entry={"disk_gb": 4})
    assert "max_slot_wal_keep_size = 1024MB" in files[f"{HOME}/conf/settings.conf"]


@pytest.mark.parametrize(("name", "said"), [
    pytest.param("AGX1", "must be a node of the site; write AGX0", id="unknown"),
    pytest.param("NANO", "must be a standby of postgres; write AGX0", id="without a database"),
    pytest.param("PI52", "is the primary already; AGX0 is its standby", id="the primary"),
])  # fmt: skip
def test_only_a_standby_is_promoted(name: str, said: str):
    with pytest.raises(SiteError, match=said):
        promotion(cluster("PI52"), name)
