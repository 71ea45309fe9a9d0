"""Cleanup removes what the toolkit made and nothing else; site.yml makes it again, and a backup fills it."""

import json
import shlex
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import site_under_test as site
from copies import DATA, STANDBYS, back_up
from interrupted import postgres
from verified import all_is_healthy, verify

# Of its volumes none holds models, which are no data.
[KEEPS, *_] = site.running("alertmanager")
BYSTANDER = "/etc/somebody-elses.conf"
BYSTANDER_DATA = "$(docker volume inspect --format '{{.Mountpoint}}' bystander)/file"
# What somebody has in the engine's configuration beside us: a runtime, and a key the toolkit never writes.
DAEMON_FILE = "/etc/docker/daemon.json"
BYSTANDER_SETTINGS: dict[str, Any] = {"runtimes": {"bystander": {"path": "runc"}}, "shutdown-timeout": 20}
LISTS = {
    "volumes": "docker volume ls -q",
    "theirs": "docker inspect --format '{{range .Mounts}}{{.Name}} {{end}}' bystander",
    "images": "docker image ls --format '{{.Repository}}:{{.Tag}}'",
    "their image": "docker inspect --format '{{.Config.Image}}' bystander",
}


def settings(node: site.Node) -> dict[str, Any]:
    """What the engine's configuration file holds."""
    return dict(site.told(node, f"cat {DAEMON_FILE}"))


def write_settings(node: site.Node, wanted: dict[str, Any]) -> None:
    site.shell(node, f"echo {shlex.quote(json.dumps(wanted))} > {DAEMON_FILE}")


# A program of a service for its backup, and where the objects are when it has run.
DUMP, OBJECTS = "/opt/aicluster/{}/bin/backup", "/var/lib/aicluster/backup/minio"
SCRATCH = "/var/tmp/look"
PUT = """docker compose --project-directory /opt/aicluster exec -T minio sh -c '
. /opt/aicluster/bin/sign-in
sign_in root aicluster "$(cat /run/secrets/minio/root_password)"
head -c 3000000 /dev/urandom | mc --quiet pipe root/images/kept'
"""


@contextmanager
def bystanders(node: site.Node) -> Iterator[None]:
    """What was on the node before: a file, a container, a volume with data, settings of the engine."""
    ours = settings(node)
    write_settings(node, ours | BYSTANDER_SETTINGS)
    image = site.shell(node, "docker ps --format '{{.Image}}' | head -n 1").strip()
    site.shell(node, f"echo mine > {BYSTANDER}")
    site.shell(node, f"docker run -d --name bystander -v bystander:/kept --entrypoint sleep {image} infinity")
    site.shell(node, f"echo mine > {BYSTANDER_DATA}")
    try:
        yield
    finally:
        site.shell(
            node, f"docker rm --force --volumes bystander; docker volume rm bystander; rm -f {BYSTANDER}"
        )
        left = settings(node)
        write_settings(node, {key: left[key] for key in left.keys() - BYSTANDER_SETTINGS.keys()})


def look(node: site.Node) -> dict[str, set[str]]:
    """What Docker has on a node; `theirs`: volumes of the bystander, its own and what its image declares."""
    return {name: set(site.shell(node, command).split()) for name, command in LISTS.items()}


def data_of(node: site.Node) -> tuple[Any, str]:
    """Rows and checksums of every table of every database, and the digests of all objects."""
    site.shell(
        node, f"mkdir -p {SCRATCH}; {DUMP.format('postgres')} {SCRATCH}; {DUMP.format('minio')} {OBJECTS}"
    )
    databases = site.told(node, f"cat {SCRATCH}/manifest.json; rm -r {SCRATCH}")["databases"]
    digests = site.shell(node, f"cd {OBJECTS} && find . -type f -exec sha256sum {{}} + | sort -k 2")
    return {name: database["tables"] for name, database in databases.items()}, digests


@dataclass(frozen=True)
class Removed:
    """A node after a cleanup, and what was there before."""

    node: site.Node
    before: dict[str, set[str]]
    run: site.Run


@pytest.fixture(scope="module")
def data() -> tuple[Any, str]:
    """What is in databases and buckets, all of it in a backup."""
    postgres("create table notes (id serial primary key, text text)")
    postgres("insert into notes (text) select repeat($$x$$, n) from generate_series(1, 1000) n")
    site.shell(DATA, PUT)
    back_up()
    return data_of(DATA)


@pytest.fixture(scope="module")
def removed(data: object) -> Iterator[dict[bool, Removed]]:
    """Two nodes, each cleaned up: one all but its data, and the one of all databases with it.

    The standby is lost, too: else the database would be promoted, not restored.
    """
    assert data
    for standby in STANDBYS:
        site.shell(
            standby, f"{site.COMPOSE} rm --stop --force postgres && docker volume rm aicluster_postgres"
        )
    nodes = {True: KEEPS, False: DATA}
    with ExitStack() as stack:
        for node in nodes.values():
            stack.enter_context(bystanders(node))
        before = {keep_data: look(node) for keep_data, node in nodes.items()}
        with ThreadPoolExecutor() as pool:
            cleanup = ("playbooks/cleanup.yml", "--limit")
            runs = {
                keep: pool.submit(site.run_confirmed, *cleanup, node.address, "-e", f"keep_data={keep}")
                for keep, node in nodes.items()
            }
        yield {keep: Removed(node, before[keep], runs[keep].result()) for keep, node in nodes.items()}


def test_without_the_name_of_the_site_nothing_is_removed():
    refused = site.run_playbook("playbooks/cleanup.yml", "--limit", KEEPS.address, "-e", "confirm=yes")
    assert refused.code != 0
    assert "Nothing was removed" in refused.output
    assert site.shell(KEEPS, "ls /opt/aicluster")


# Two nodes from nothing and a restore take minutes; `make test` restores in the drill of test_backup.
@pytest.mark.full
@pytest.mark.parametrize("keep_data", [True, False], ids=["all but data", "data, too"])
def test_what_the_toolkit_made_goes_and_what_was_there_stays(removed, keep_data):
    node, before = removed[keep_data].node, removed[keep_data].before
    said = removed[keep_data].run.succeeded().output
    assert len(before["volumes"]) > 1
    for image in before["images"] - before["their image"]:
        assert image in said, "what goes is said by name"
    left = site.shell(
        node, "ls -d /opt/aicluster /var/lib/aicluster /etc/systemd/system/aicluster* 2>&1; true"
    )
    assert left.count("No such file") == 3, left
    assert site.shell(node, "docker ps --all --format '{{.Names}}'").split() == ["bystander"]
    assert site.shell(node, f"cat {BYSTANDER}") == "mine\n"
    assert settings(node) == BYSTANDER_SETTINGS
    assert site.shell(node, f"cat {BYSTANDER_DATA}") == "mine\n"
    after = look(node)
    assert after["volumes"] == before["volumes" if keep_data else "theirs"]
    assert after["images"] == before["their image"]


@pytest.mark.full
def test_the_next_run_makes_it_again_and_leaves_what_others_set(removed):
    nodes = [one.node for one in removed.values()]
    site.run_site("--limit", ",".join(node.address for node in [*nodes, *STANDBYS])).succeeded()
    for node in nodes:
        assert BYSTANDER_SETTINGS.items() < settings(node).items()
    lost = {(service, DATA.name) for service in ("minio", "postgres")}
    assert ("minio", DATA.name) in verify().failed <= lost, "what is empty, though a backup has data"


@pytest.mark.full
def test_a_node_that_lost_everything_has_all_its_rows_and_objects_back(removed, data):
    node = removed[False].node
    assert data_of(node) != data
    everything = ("-e", "service=all", "-e", f"node={node.name}")
    site.run_confirmed("playbooks/restore.yml", *everything).succeeded()
    assert data_of(node) == data
    all_is_healthy()
    site.shell(node, "/opt/aicluster/postgres/bin/restore --drop-before")
    postgres("drop table notes")
