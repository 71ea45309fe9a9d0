"""What the backup of a node copies follows from what its services say they keep."""

from typing import Any

import pytest
from backups import job

from aicluster.backup.jobs import backup_jobs, backup_mounts


def nodes(**backup: list[dict[str, Any]]) -> list[dict[str, Any]]:
    services: dict[str, Any] = {service: {"backup": entries} for service, entries in backup.items()}
    return [{"name": "A", "host": "10.0.0.1", "services": {"backup": {}, **services}}]


@pytest.mark.parametrize(("entries", "jobs", "volumes", "paths"), [
    pytest.param([{"volume": "v", "none": "It fills again."}], [], [], [],
        id="a volume with a reason: no job"),
    pytest.param(
        [{"volume": "v", "exclude": ["cache", "*/tmp"]}],
        [job("web", paths=["/volumes/v"], exclude=["/volumes/v/cache", "/volumes/v/*/tmp"])],
        ["v"], [],
        id="a volume without its caches",
    ),
    pytest.param(
        [{"path": "/etc/ssh/", "exclude": ["moduli"]}, {"path": "/srv"}],
        [job("web", paths=["/host/etc/ssh", "/host/srv"], exclude=["/host/etc/ssh/moduli"])],
        [], ["/etc/ssh/", "/srv"],
        id="files of the host",
    ),
    pytest.param(
        [{"volume": "v", "dump": "bin/backup"}],
        [job("web", dumps=["/opt/aicluster/web/bin/backup"], paths=["/staging/web"])],
        [], [],
        id="a volume that a dump covers is not read itself",
    ),
    pytest.param(
        [{"volume": "v", "sqlite": ["a.db"]}],
        [job(
            "web",
            sqlite={"v": ["a.db"]},
            paths=["/staging/web", "/volumes/v"],
            exclude=[f"/volumes/v/a.db{end}" for end in ("", "-journal", "-shm", "-wal")],
        )],
        ["v"], [],
        id="a database file is copied into the staging folder, and not with its volume",
    ),
    pytest.param(
        [{"volume": "big", "copies": 1}, {"dump": "bin/backup"}, {"volume": "v"}],
        [
            job("web", dumps=["/opt/aicluster/web/bin/backup"], paths=["/staging/web", "/volumes/v"]),
            job("web_bulk", paths=["/volumes/big"], copies=1),
        ],
        ["big", "v"], [],
        id="some of it has one copy: two jobs",
    ),
])  # fmt: skip
def test_a_job_for_what_a_service_keeps(entries, jobs, volumes, paths):
    site = nodes(web=entries)
    assert backup_jobs(site, "10.0.0.1") == {"node": "A", "stores": [], "jobs": jobs}
    assert backup_mounts(site, "10.0.0.1") == {"volumes": volumes, "paths": paths}
