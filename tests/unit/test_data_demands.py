"""Databases and buckets follow from what placed services ask for."""

from typing import Any

import pytest

from aicluster.errors import SiteError
from aicluster.site.data import bucket_users, database_roles


def nodes(*services: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"N{number}", "services": placed} for number, placed in enumerate(services)]


def test_a_service_on_two_nodes_has_one_user_for_all_its_buckets():
    site = nodes(
        {"web": {"buckets": ["pages"]}, "art": {"buckets": ["images"]}},
        {"web": {"buckets": ["images", "pages"]}},
    )
    assert bucket_users(site) == {"art": ["images"], "web": ["images", "pages"]}
    assert list(bucket_users(site)) == ["art", "web"]


@pytest.mark.parametrize(("asked", "kind", "names", "message"), [
    pytest.param(database_roles, "databases", ["Web", "web-1", "1web", "", "a" * 64, "web; drop", 7],
        r"databases of service web on N0 .*must be 1 to 63", id="a database that would have to be quoted"),
    pytest.param(database_roles, "databases", ["postgres", "template1", "monitor", "pg_stat"],
        "choose another name", id="a database with a name that is taken"),
    pytest.param(bucket_users, "buckets", ["Images", "a", "-images", "images-", "my_images", "a.b", "a" * 64],
        r"buckets of service web on N0 .*must be 3 to 63", id="a bucket that S3 would refuse"),
])  # fmt: skip
def test_a_name_is_refused(asked, kind, names, message):
    exporter = {"database_roles": {"monitor": {"secret": "monitor_password"}}}
    for name in names:
        with pytest.raises(SiteError, match=message):
            asked(nodes({"web": {kind: [name]}, "exporter": exporter}))
