"""Two servers of PostgreSQL: everything that uses the database follows from the name of one node."""

from typing import Any

import pytest
import render

from aicluster.backup.drills import backup_drills
from aicluster.backup.jobs import backup_jobs
from aicluster.errors import SiteError
from aicluster.site.replication import pair_up, promotion

HOSTS = {"PI52": "192.168.1.247", "AGX0": "192.168.1.154", "ORIN0": "192.168.1.157"}


def cluster(primary: str) -> list[dict[str, Any]]:
    """Production, with this node as the primary."""
    nodes = [{**node, "postgres_primary": primary} for node in render.cluster("production")]
    pair_up(nodes)
    return nodes


@pytest.mark.parametrize(("primary", "standby"), [("PI52", "AGX0"), ("AGX0", "PI52")])
def test_the_primary_alone_is_backed_up_and_restored_in_drills(primary: str, standby: str):
    nodes = cluster(primary)
    kept = [[job["name"] for job in backup_jobs(nodes, HOSTS[one])["jobs"]] for one in (primary, standby)]
    assert ["postgres" in jobs for jobs in kept] == [True, False]
    drills = backup_drills(nodes, HOSTS["AGX0"])
    assert {drill["node"] for drill in drills if drill["service"] == "postgres"} == {primary}


def test_what_is_kept_for_an_absent_standby_never_fills_the_disk():
    files = render.render_role("postgres", "production", HOSTS["PI52"], entry={"disk_gb": 4})
    assert "max_slot_wal_keep_size = 1024MB" in files["/opt/aicluster/postgres/conf/settings.conf"]


@pytest.mark.parametrize(("name", "said"), [
    pytest.param("AGX1", "must be a node of the site; write AGX0", id="unknown"),
    pytest.param("NANO", "must be a standby of postgres; write AGX0", id="without a database"),
    pytest.param("PI52", "is the primary already; AGX0 is its standby", id="the primary"),
])  # fmt: skip
def test_only_a_standby_is_promoted(name: str, said: str):
    with pytest.raises(SiteError, match=said):
        promotion(cluster("PI52"), name)
