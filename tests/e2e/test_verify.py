"""Verify reports a healthy cluster as healthy, and names what failed, whatever it is."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
import site_under_test as site
from verified import Verdict, all_is_healthy, verify

# One after the other takes long; otherwise as many at once as do not need each other.
ONE_AT_A_TIME = "AICLUSTER_FULL" in os.environ
Stopped = list[tuple[site.Node, str]]


def active(node: site.Node) -> list[str]:
    """Services of a node that can be stopped: in its present profile, and with a container or a unit."""
    return [
        name
        for name, entry in node.services.items()
        if name not in node.inactive and (entry["image"] or entry.get("unit"))
    ]


def related(one: tuple[site.Node, str], other: tuple[site.Node, str]) -> bool:
    """Whether one of two services needs the other, so that its failure might hide behind the other's."""
    (node, service), (other_node, other_service) = one, other
    entry, other_entry = node.services[service], other_node.services[other_service]
    return (
        other_service in entry.get("needs", [])
        or service in other_entry.get("needs", [])
        or (node == other_node and other_service in entry.get("beside", []))
        or (node == other_node and service in other_entry.get("beside", []))
    )


def rounds() -> list[Stopped]:
    """What is stopped together: one service, or all that do not need each other."""
    pairs = [(node, service) for node in site.nodes() for service in active(node)]
    if ONE_AT_A_TIME:
        return [[pair] for pair in pairs]
    together: list[Stopped] = []
    for pair in pairs:
        free = (group for group in together if not any(related(pair, other) for other in group))
        group = next(free, None)
        if group is None:
            together.append([pair])
        else:
            group.append(pair)
    return together


def name_of(stopped: Stopped) -> str:
    [(node, service), *others] = stopped
    return f"{service} on {node.name}" + (f" and {len(others)} others" if others else "")


def switch(node: site.Node, *services: str, on: bool) -> None:
    """Stop services as an accident would, or start them again and wait until they are healthy."""
    units = " ".join(node.services[name]["unit"] for name in services if not node.services[name]["image"])
    containers = " ".join(name for name in services if node.services[name]["image"])
    start = f"{site.COMPOSE} up --detach --wait --wait-timeout 120 {containers}"
    commands = [
        *([f"systemctl {'start' if on else 'stop'} {units}"] if units else []),
        *([start if on else f"{site.COMPOSE} kill {containers}"] if containers else []),
    ]
    site.shell(node, "; ".join(["set -e", *commands]))


def switch_all(stopped: Stopped, on: bool) -> None:
    """Stop or start them all, nodes side by side."""
    names: dict[site.Node, list[str]] = {}
    for node, service in stopped:
        names.setdefault(node, []).append(service)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(switch, node, *services, on=on) for node, services in names.items()]:
            done.result()


@pytest.fixture(scope="module", autouse=True)
def undisturbed() -> Verdict:
    """What verify says before anything is stopped."""
    return all_is_healthy()


def test_every_placed_service_is_asked_and_healthy(undisturbed):
    assert undisturbed.code == 0
    expected = {(service, node.name) for node in site.nodes() for service in node.services}
    assert set(undisturbed.states()) == expected
    assert set(undisturbed.states().values()) <= {"healthy", "inactive"}


@pytest.fixture
def stopped(request: pytest.FixtureRequest) -> Iterator[Stopped]:
    pairs: Stopped = request.param
    switch_all(pairs, on=False)
    yield pairs
    switch_all(pairs, on=True)


# While nothing else is stopped: this comes first.
@pytest.mark.parametrize(
    "stopped", [[(node, "minio")] for node in site.running("minio")], ids=name_of, indirect=True
)
def test_what_stopped_alone_comes_first_and_every_other_failure_names_its_cause(stopped):
    [(node, service)] = stopped
    first, *others = verify().report["failures"]
    assert (first["service"], first["node"], first["caused_by"]) == (service, node.name, [])
    assert [failure for failure in others if not failure["caused_by"]] == []


@pytest.mark.parametrize("stopped", rounds(), ids=name_of, indirect=True)
def test_a_service_that_stopped_is_named_with_evidence_and_what_to_do(stopped):
    verdict = verify()
    assert verdict.code != 0 and not verdict.ok
    for node, service in stopped:
        assert (service, node.name) in verdict.failed, f"{service} on {node.name} was not noticed"
        failure = verdict.failure(service, node.name)
        assert failure["evidence"]
        assert failure["next"] or failure["caused_by"], failure


@contextmanager
def side_by_side(*faults: AbstractContextManager[site.Node]) -> Iterator[list[site.Node]]:
    """Inject faults at once and mend them at once; the node of each."""
    with ThreadPoolExecutor() as pool:
        begun = [pool.submit(fault.__enter__) for fault in faults]
        try:
            yield [one.result() for one in begun]
        finally:
            there = [fault for fault, one in zip(faults, begun, strict=True) if not one.exception()]
            for mended in [pool.submit(fault.__exit__, None, None, None) for fault in there]:
                mended.result()


@contextmanager
def foreign_password() -> Iterator[site.Node]:
    """The database's monitor has another password than its exporter knows."""
    node = site.running("postgres")[0]
    sql = f"{site.COMPOSE} exec -T postgres psql -U postgres -c"
    site.shell(node, f"{sql} \"ALTER ROLE monitor PASSWORD 'another'\"")
    # Sessions that were open stay open.
    site.shell(node, f"{site.COMPOSE} restart postgres_exporter")
    try:
        yield node
    finally:
        site.shell(node, f"{site.COMPOSE} exec -T postgres /opt/aicluster/provision")


# Whoever is connected must sign in again, which only the other password opens.
ANOTHER_PASSWORD = """
REDISCLI_AUTH="$(cat /run/secrets/redis/password)" redis-cli -e CONFIG SET requirepass another
REDISCLI_AUTH=another redis-cli -e CLIENT KILL TYPE normal
"""


@contextmanager
def lost_counters() -> Iterator[site.Node]:
    """Kong's password does not open its Redis any more."""
    node = next(node for node in site.running("kong") if "redis" in node.services)
    site.shell(node, f"{site.COMPOSE} exec -T redis sh -ec {shlex.quote(ANOTHER_PASSWORD)}")
    try:
        yield node
    finally:
        # It starts with the password of its file; healthy again, it is waited for.
        site.shell(node, f"{site.COMPOSE} restart redis")
        switch(node, "redis", on=True)


@pytest.fixture(scope="module")
def wrong_passwords() -> Iterator[tuple[Verdict, site.Node, site.Node]]:
    """What verify says while an exporter's and Kong's passwords are wrong, and the node of each."""
    with side_by_side(foreign_password(), lost_counters()) as (exporter, gateway):
        yield verify(), exporter, gateway


def test_a_wrong_password_is_named_although_the_container_is_healthy(wrong_passwords):
    verdict, exporter, _ = wrong_passwords
    assert ("postgres_exporter", exporter.name) in verdict.failed


def test_a_gateway_that_no_longer_counts_is_named_with_who_keeps_its_counters(wrong_passwords):
    verdict, _, gateway = wrong_passwords
    failure = verdict.failure("kong", gateway.name)
    assert "no rate limit holds" in failure["evidence"]
    assert failure["caused_by"] == [f"redis on {gateway.name}"]


# Store -> the volume of its data.
STORES = {"postgres": "postgres", "redis": "redis_data", "victorialogs": "victorialogs_data"}
# Room to start on: a database that was killed writes 16 MiB of log before it serves again.
DISK_FULL = """
set -e
data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' aicluster_{volume})
cp -a $data /var/tmp/aside
mount -t tmpfs -o size=$(($(du -sm /var/tmp/aside | cut -f 1) + 64))m tmpfs $data
cp -a /var/tmp/aside/. $data
rm -r /var/tmp/aside
"""
# It must fail: that is when the disk is full.
NO_BYTE_LEFT = """
data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' aicluster_{volume})
! head -c 1G /dev/zero > $data/filler
"""
# With what was written meanwhile: a standby that has it would be ahead of its primary for ever.
DISK_AS_BEFORE = """
set -e
data=$(docker volume inspect --format '{{{{.Mountpoint}}}}' aicluster_{volume})
rm -f $data/filler
cp -a $data /var/tmp/aside
umount $data
find "${{data:?}}" -mindepth 1 -delete
cp -a /var/tmp/aside/. $data
rm -r /var/tmp/aside
"""


@contextmanager
def full_disk(service: str, volume: str) -> Iterator[site.Node]:
    """A store's data on a disk of its own without a free byte."""
    node = site.running(service)[0]
    switch(node, service, on=False)
    site.shell(node, DISK_FULL.format(volume=volume))
    try:
        switch(node, service, on=True)
        site.shell(node, NO_BYTE_LEFT.format(volume=volume))
        yield node
    finally:
        switch(node, service, on=False)
        site.shell(node, DISK_AS_BEFORE.format(volume=volume))
        switch(node, service, on=True)


@pytest.fixture(scope="module")
def full_disks() -> Iterator[tuple[Verdict, dict[str, site.Node]]]:
    """What verify says while the disk of each store is full, and the node of each."""
    with side_by_side(*(full_disk(name, volume) for name, volume in STORES.items())) as nodes:
        yield verify(), dict(zip(STORES, nodes, strict=True))


@pytest.mark.parametrize("service", STORES)
def test_a_store_whose_disk_is_full_is_named(full_disks, service):
    verdict, nodes = full_disks
    failure = verdict.failure(service, nodes[service].name)
    assert " has 0 MiB free; " in failure["evidence"]
    assert "df -h" in failure["next"]
