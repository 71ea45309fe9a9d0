"""Which stores have the copies of a node, the secrets both are given, and what a copy may change."""

import re

import pytest
from backups import node
from hypothesis import given
from hypothesis import strategies as st
from render import cluster, compose_of, hosts_running, render_role

from aicluster.backup.jobs import backup_jobs
from aicluster.backup.secrets import backup_secret
from aicluster.backup.stores import backup_clients, backup_stores, stores_of
from aicluster.errors import SiteError

SITE = [node("PI31", keeps=False), node("PI51"), node("ORIN0", 60), node("AGX0", 1000), node("PI52", 100)]


@pytest.mark.parametrize(("name", "stores"), [
    pytest.param("PI51", ["AGX0", "PI52"], id="the two largest"),
    pytest.param("PI52", ["AGX0", "ORIN0"], id="a store sends to the others: the second largest"),
    pytest.param("AGX0", ["PI52", "ORIN0"], id="a store sends to the others: the largest"),
])  # fmt: skip
def test_the_stores_of_a_node(name, stores):
    ends = [{"node": store, "address": f"{store}.lan", "port": 8000} for store in stores]
    assert backup_stores(SITE, f"host-{name}") == ends
    assert backup_jobs(SITE, f"host-{name}")["stores"] == stores


def test_of_equal_stores_the_name_decides():
    site = [node("C", 5), node("A", 5), node("B", 5)]
    assert [store["name"] for store in stores_of(site, "host-elsewhere")] == ["A", "B"]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=7))
def test_a_node_and_its_stores_agree_whatever_the_sizes(drawn):
    site = [node(f"N{number}", size, keeps=keeps) for number, (size, keeps) in enumerate(drawn)]
    keeping = [one for one in site if "backup" in one["services"]]
    sent = {(one["name"], end["node"]) for one in keeping for end in backup_stores(site, one["host"])}
    assert sent == {(name, one["name"]) for one in site for name in backup_clients(site, one["host"])}
    assert all(name != store for name, store in sent)
    for one in site:
        others = sum(bool(size) for size, _ in drawn) - ("backup_store" in one["services"])
        assert len(backup_stores(site, one["host"])) == min(2, others)


def test_a_secret_stays_the_same_and_is_the_hmac_of_its_purpose():
    # `printf 'repository PI52' | openssl dgst -sha256 -hmac correct-horse-battery`
    known = "a356440754d794b4d1a6218102f437f0cdb2e2e30a45751a6f71d6f4929ea318"
    assert backup_secret("correct-horse-battery", "repository PI52") == known


def test_nothing_is_derived_of_an_empty_secret():
    with pytest.raises(SiteError, match="backup_password is empty: must be a secret"):
        backup_secret("", "repository PI52")


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_only_the_cache_and_a_store_can_be_written(inventory):
    for host in hosts_running("backup", inventory):
        lines = compose_of("backup", inventory=inventory, host=host)["services"]["backup"]["volumes"]
        writable = {str(line).split(":")[1] for line in lines if not str(line).endswith(":ro")}
        [node] = [node for node in cluster(inventory) if node["host"] == host]
        assert writable == ({"/cache", "/store"} if "backup_store" in node["services"] else {"/cache"})


def test_no_two_secrets_of_the_site_are_the_same():
    found = [
        word
        for host in hosts_running("backup")
        for path, text in render_role("backup", host=host).items()
        if "/secrets/" in path
        for word in re.findall(r"[0-9a-f]{64}", text)
    ]
    assert len(found) == len(set(found)) >= 3 * len(hosts_running("backup"))
