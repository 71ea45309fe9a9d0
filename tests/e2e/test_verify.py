"""Verify reports a healthy cluster as healthy, and names what failed, whatever it is."""

import os
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
        if (group := next(free, None)) is None:
            together.append(group := [])
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


def test_wrong_passwords_are_named_although_the_containers_are_healthy():
    with foreign_password() as exporter, lost_counters() as gateway:
        verdict = verify()
    assert ("postgres_exporter", exporter.name) in verdict.failed
    failure = verdict.failure("kong", gateway.name)
    assert "no rate limit holds" in failure["evidence"]
    assert failure["caused_by"] == [f"redis on {gateway.name}"]


@pytest.fixture
def short_of_room() -> Iterator[site.Node]:
    """The node of the database, as if its disk had to have more room than there is."""
    node = site.running("postgres")[0]
    file, floor = "/opt/aicluster/verify.json", '"disk_floor_mb":'
    site.shell(node, f"sed -i.kept 's/{floor} [0-9]*/{floor} 999999999/' {file}")
    yield node
    site.shell(node, f"mv {file}.kept {file}")


def test_stores_whose_disk_has_hardly_any_room_are_named(short_of_room):
    verdict = verify("--limit", short_of_room.address)
    for service in ("minio", "postgres", "redis"):
        failure = verdict.failure(service, short_of_room.name)
        assert " MiB free; must be 999999999 " in failure["evidence"]
        assert "df -h" in failure["next"]
