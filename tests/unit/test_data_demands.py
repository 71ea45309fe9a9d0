"""Databases and buckets follow from what placed services ask for."""

from typing import Any

import pytest

from aicluster.errors import SiteError
from aicluster.site.data import bucket_users, database_roles


def nodes(*services: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"N{number}", "services": placed} for number, placed in enumerate(services)]


def test_databases_of_all_nodes_are_named_once_and_in_order():
    site = nodes({"web": {"databases": ["web", "queue"]}}, {"web": {"databases": ["web"]}, "plain": {}})
    assert [(one["role"], one["secret"], one["database"]) for one in database_roles(site)] == [
        ("queue", "queue_db_password", True),
        ("web", "web_db_password", True),
    ]


def test_other_roles_follow_with_the_secret_that_their_service_names():
    site = nodes(
        {"api": {"database_roles": {"caller": {"secret": "api_password"}}}, "web": {"databases": ["web"]}}
    )
    [_, found] = database_roles([*site, *site])
    assert found == {"role": "caller", "secret": "api_password", "database": False, "service": "api"}


def test_a_service_on_two_nodes_has_one_user_for_all_its_buckets():
    site = nodes(
        {"web": {"buckets": ["pages"]}, "art": {"buckets": ["images"]}},
        {"web": {"buckets": ["images", "pages"]}},
    )
    assert bucket_users(site) == {"art": ["images"], "web": ["images", "pages"]}
    assert list(bucket_users(site)) == ["art", "web"]


@pytest.mark.parametrize("name", ["Web", "web-1", "1web", "", "a" * 64, "web; drop", 7])
def test_a_database_that_would_have_to_be_quoted_is_refused(name):
    with pytest.raises(SiteError, match=r"databases of service web on N0 .*must be 1 to 63"):
        database_roles(nodes({"web": {"databases": [name]}}))


@pytest.mark.parametrize("name", ["postgres", "template1", "monitor", "pg_stat"])
def test_a_database_with_a_name_that_is_taken_is_refused(name):
    exporter = {"database_roles": {"monitor": {"secret": "monitor_password"}}}
    with pytest.raises(SiteError, match="choose another name"):
        database_roles(nodes({"web": {"databases": [name]}, "exporter": exporter}))


@pytest.mark.parametrize("name", ["Images", "a", "-images", "images-", "my_images", "a.b", "a" * 64])
def test_a_bucket_that_s3_would_refuse_is_refused(name):
    with pytest.raises(SiteError, match=r"buckets of service web on N0 .*must be 3 to 63"):
        bucket_users(nodes({"web": {"buckets": [name]}}))
