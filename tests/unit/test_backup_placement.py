"""What of a site is backed up, into which stores, and what would not be: found before a node is touched."""

import re
from copy import deepcopy
from typing import Any

import pytest
import render
from backups import job, node
from hypothesis import given
from hypothesis import strategies as st
from render import cluster, compose_of, hosts_running, render_role
from site_description import production
from tables import cases

from aicluster.backup.findings import backup_problems, volume_problems
from aicluster.backup.jobs import backup_jobs, backup_mounts
from aicluster.backup.secrets import backup_secret
from aicluster.backup.stores import backup_clients, backup_stores
from aicluster.errors import SiteError


def nodes(**backup: list[dict[str, Any]]) -> list[dict[str, Any]]:
    services: dict[str, Any] = {service: {"backup": entries} for service, entries in backup.items()}
    return [{"name": "A", "host": "10.0.0.1", "services": {"backup": {}, **services}}]


@cases(("entries", "jobs", "volumes", "paths"), {
    "a volume with a reason: no job": ([{"volume": "v", "none": "It fills again."}], [], [], []),
    "a volume without its caches": ([{"volume": "v", "exclude": ["cache", "*/tmp"]}],
        [job("web", paths=["/volumes/v"], exclude=["/volumes/v/cache", "/volumes/v/*/tmp"])], ["v"], []),
    "files of the host": ([{"path": "/etc/ssh/", "exclude": ["moduli"]}, {"path": "/srv"}],
        [job("web", paths=["/host/etc/ssh", "/host/srv"], exclude=["/host/etc/ssh/moduli"])], [],
        ["/etc/ssh/", "/srv"]),
    "a volume that a dump covers is not read itself": ([{"volume": "v", "dump": "bin/backup"}],
        [job("web", dumps=["/opt/aicluster/web/bin/backup"], paths=["/staging/web"])], [], []),
    "a database file is copied into the staging folder, and not with its volume": (
        [{"volume": "v", "sqlite": ["a.db"]}],
        [job("web", sqlite={"v": ["a.db"]}, paths=["/staging/web", "/volumes/v"],
            exclude=[f"/volumes/v/a.db{end}" for end in ("", "-journal", "-shm", "-wal")])], ["v"], []),
    "some of it has one copy: two jobs": (
        [{"volume": "big", "copies": 1}, {"dump": "bin/backup"}, {"volume": "v"}],
        [job("web", dumps=["/opt/aicluster/web/bin/backup"], paths=["/staging/web", "/volumes/v"]),
            job("web_bulk", paths=["/volumes/big"], copies=1)], ["big", "v"], []),
})  # fmt: skip
def test_a_job_for_what_a_service_keeps(entries, jobs, volumes, paths):
    site = nodes(web=entries)
    assert backup_jobs(site, "10.0.0.1") == {"node": "A", "stores": [], "jobs": jobs}
    assert backup_mounts(site, "10.0.0.1") == {"volumes": volumes, "paths": paths}


SITE = [node("PI31", keeps=False), node("PI51"), node("ORIN0", 60), node("AGX0", 1000), node("PI52", 100)]


@cases(("name", "stores"), {
    "the two largest": ("PI51", ["AGX0", "PI52"]),
    "a store sends to the others: the second largest": ("PI52", ["AGX0", "ORIN0"]),
    "a store sends to the others: the largest": ("AGX0", ["PI52", "ORIN0"]),
})  # fmt: skip
def test_the_stores_of_a_node(name, stores):
    ends = [{"node": store, "address": f"{store}.lan", "port": 8000} for store in stores]
    assert backup_stores(SITE, f"host-{name}") == ends
    assert backup_jobs(SITE, f"host-{name}")["stores"] == stores


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
    files = [file for host in hosts_running("backup") for file in render_role("backup", host=host).items()]
    secrets = [text for path, text in files if "/secrets/" in path]
    found = [word for text in secrets for word in re.findall(r"[0-9a-f]{64}", text)]
    assert len(found) == len(set(found)) >= 3 * len(hosts_running("backup"))


DATA = {"backup": [{"volume": "v"}], "disk_gb": 30}


@cases("services", {
    "of all the service may have": {"web": DATA},
    "of what has one copy only the larger one": {
        "web": DATA, "art": {"backup": [{"volume": "a", "copies": 1}], "disk_gb": 60}},
    "of an entry that says how much it may have": {
        "web": {"backup": [{"volume": "v", "disk_gb": 9}], "disk_gb": 900}},
    "of a volume that is not kept": {
        "web": {"backup": [{"volume": "v", "none": "It fills again."}], "disk_gb": 900}},
})  # fmt: skip
def test_a_store_has_room_for_what_is_sent_there(services):
    assert backup_problems([node("A", **services), node("B", 100), node("C", 50)]) == []


@cases(("services", "unnamed"), {
    "all named": ({"web": {"backup": [{"volume": "v"}, {"dump": "bin/x", "volume": "w"}]}}, []),
    "one forgotten": ({"web": {"backup": [{"volume": "v", "none": "It fills again."}]}}, ["w"]),
    "a dump that does not say of what": ({"web": {"backup": [{"dump": "bin/x"}]}}, ["v", "w"]),
    "volumes of the service it works beside": (
        {"web": {"beside": ["db"]}, "db": {"backup": [{"volume": "v"}, {"volume": "w"}]}}, []),
    "volumes of another service": (
        {"web": {}, "db": {"backup": [{"volume": "v"}, {"volume": "w"}]}}, ["v", "w"]),
})  # fmt: skip
def test_a_volume_that_no_entry_names_is_found(services, unnamed):
    found = [problem.partition(":")[0] for problem in volume_problems([services], {"web": ["v", "w"]})]
    assert found == [f"volume {volume} of service web unnamed" for volume in unnamed]


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_what_is_read_of_a_template_is_what_compose_is_given(inventory):
    read = production()["volumes"]
    for one in deepcopy(render.cluster(inventory)):
        for service in [service for service in one["services"] if service in read and service != "backup"]:
            given = render.compose_of(service, inventory=inventory, host=one["host"])
            assert read[service] == list(given.get("volumes") or {}), (service, one["name"])
