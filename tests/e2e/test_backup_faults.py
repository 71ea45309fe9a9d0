"""What goes wrong with backups fails its unit, is told, loses nothing, and is over with the next run.

One night has the faults that do not disturb each other, one node each.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import site_under_test as site
from copies import CONTROL, DATA, FIRST, back_up, backed_up, copies, snapshots, unit
from interrupted import postgres
from prometheus_api import ask
from tree import load

pytestmark = pytest.mark.full
STAGING = "/var/lib/aicluster/backup"
STORED = "/var/lib/docker/volumes/aicluster_backup_store_data/_data"
STORE = "/opt/aicluster/bin/aicluster_backup_store.py"
RULES = "roles/prometheus/templates/opt/aicluster/prometheus/rules"
# Prometheus asks a node once a minute.
TOLD_WITHIN_S = 180
[HUB], [GATEWAY] = site.running("jupyterhub"), site.running("kong")
MONITORING = site.running("alertmanager")[0]
# The Prometheus of everything.
WATCHER = next(node for node in site.running("prometheus") if node != MONITORING)
[EDGE] = [node for node in backed_up() if node not in (DATA, HUB, GATEWAY, FIRST, MONITORING)]
# Node, job and store.
Copy = tuple[str, ...]


@dataclass(frozen=True)
class Fault:
    """What is done to a node, or to a store of its copies; `said` of each copy that fails for it."""

    node: site.Node
    begins: str
    ends: str
    said: str
    job: str = ""
    store: str = ""
    at: site.Node | None = None

    def hits(self, copy: Copy) -> bool:
        """Whether a copy fails for it."""
        node, job, store = copy
        return node == self.node.name and self.job in ("", job) and self.store in ("", store)


def full_disk(folder: str, copied: str) -> str:
    """Shell commands after which a folder is on a full disk and has copies of some of its files."""
    return (
        "mkdir -p /run/full && mount -t tmpfs -o size=16m tmpfs /run/full && mkdir /run/full/there && "
        f"cp -a {copied} /run/full/there/ && ! head -c 20M /dev/zero > /run/full/rest && "
        f"mount --bind /run/full/there {folder}"
    )


def mended_disk(folder: str) -> str:
    return f"umount {folder} && umount /run/full"


def as_soon_as(condition: str, command: str) -> str:
    """A shell command that has another one run in the background once something is so."""
    waits = f"until {condition}; do sleep 0.02; done; {command}"
    return f"systemd-run --quiet --collect --unit=fault sh -c '{waits}'"


PASSWORD = "/opt/aicluster/backup/secrets/password"
STORE_OF_EDGE = f"{STORED}/{EDGE.name}"
STOP_STORE, START_STORE = (f"{site.COMPOSE} {verb} backup_store" for verb in ("stop", "start"))
GRAFANA = "/var/lib/docker/volumes/aicluster_grafana_data/_data/grafana.db"
HALF = f"[ $(stat -c %s {STAGING}/postgres/new/postgres.dump 2>/dev/null || echo 0) -gt 1000000 ]"
PROGRESS = "/run/aicluster/backup-progress"
SENDS = f'grep -q "\\"job\\": \\"backup\\".*\\"event\\": \\"start\\"" {PROGRESS}'
FAULTS = {
    "a dump is cut off half-way": Fault(
        DATA, as_soon_as(HALF, "pkill -KILL -x pg_dump"), "true", "pg_dump", job="postgres"),
    "the disk of a node is full": Fault(
        HUB, full_disk(STAGING, f"{STAGING}/state.json"), mended_disk(STAGING),
        "[Nn]o space left|disk is full"),
    "the disk of a store is full": Fault(
        EDGE, f"{STOP_STORE}; {full_disk(STORE_OF_EDGE, f'{STORE_OF_EDGE}/.')} && {START_STORE}",
        f"{STOP_STORE}; {mended_disk(STORE_OF_EDGE)}; {START_STORE}",
        "the disk of the store is full", store=FIRST.name, at=FIRST),
    "a node has another password than its repository": Fault(
        GATEWAY, f"cp -p {PASSWORD} /run/kept && echo other > {PASSWORD}",
        f"cat /run/kept > {PASSWORD} && rm /run/kept", "wrong password"),
    "a file is missing": Fault(
        MONITORING, f"{site.COMPOSE} stop grafana && mv {GRAFANA} {GRAFANA}.gone",
        f"mv {GRAFANA}.gone {GRAFANA} && {site.COMPOSE} start grafana",
        "grafana.db does not exist", job="grafana"),
    "the program is killed while it copies": Fault(
        FIRST, f"rm -f {PROGRESS}; {as_soon_as(SENDS, 'systemctl kill --signal=KILL aicluster-backup')}",
        "true", "the run ended before it", job="backup"),
}  # fmt: skip


@contextmanager
def broken(fault: Fault) -> Iterator[None]:
    site.shell(fault.at or fault.node, fault.begins)
    try:
        yield
    finally:
        site.shell(fault.at or fault.node, fault.ends)


@contextmanager
def bulky_database() -> Iterator[None]:
    """A dump of the database takes a moment."""
    line = "select n, repeat(md5(n::text), 100) from generate_series(1, 20000) n"
    postgres(f"create table bulky as {line}")
    try:
        yield
    finally:
        postgres("drop table bulky")


def control_unit() -> tuple[str, str]:
    """One run of the unit of the control node: its result and its log."""
    result = unit(CONTROL, "aicluster-nightly")
    run = "$(systemctl show --value --property InvocationID aicluster-nightly)"
    return result, site.shell(CONTROL, f"journalctl --output=cat --no-pager _SYSTEMD_INVOCATION_ID={run}")


def all_copies() -> dict[Copy, Any]:
    return {(node.name, *name): one for node in backed_up() for name, one in copies(node).items()}


def ids(*nodes: site.Node) -> set[str]:
    """The snapshots that both stores have of nodes."""
    return {one["id"] for node in nodes for one in snapshots(node)}


def rule(alert: str) -> str:
    """The expression of an alert rule."""
    rules = [load(f"{RULES}/{name}.yml") for name in ("backup", "nodes")]
    alerts = [one for file in rules for group in file["groups"] for one in group["rules"]]
    return next(str(one["expr"]) for one in alerts if one.get("alert") == alert)


def require(expression: str, wanted: Iterable[tuple[str, ...]], *labels: str) -> None:
    """Wait until Prometheus yields series with these labels."""

    def shown() -> set[tuple[str, ...]]:
        return {tuple(str(one["metric"].get(label)) for label in labels) for one in ask(WATCHER, expression)}

    site.wait_until(lambda: shown().issuperset(wanted), TOLD_WITHIN_S, f"not told: {expression}", 5)


def newer(after: dict[Copy, Any], before: dict[Copy, Any]) -> set[Copy]:
    """The copies that were made since."""
    return {copy for copy, one in after.items() if one["success_at"] > before[copy]["success_at"]}


def test_a_night_fails_what_faults_hit_tells_it_and_loses_nothing_and_the_next_one_makes_all(subtests):
    back_up()
    before, had = all_copies(), ids(*backed_up())
    hit = {name: {copy for copy in before if fault.hits(copy)} for name, fault in FAULTS.items()}
    units = {(fault.node.name, "aicluster-backup.service") for fault in FAULTS.values()}
    with bulky_database():
        with ExitStack() as faults:
            for fault in FAULTS.values():
                faults.enter_context(broken(fault))
            result, log = control_unit()
            after = all_copies()
            failed = {copy for copy, one in after.items() if one["exit_code"]}
            with subtests.test("the units fail, and alerts name them and the copies"):
                assert result == "exit-code"
                units.add((CONTROL.name, "aicluster-nightly.service"))
                require(rule("UnitFailed"), units, "node", "name")
                require(rule("BackupFailed"), failed, "node", "job_name", "store")
        has = ids(*backed_up())
        next_result, next_log = control_unit()
    for name, fault in FAULTS.items():
        with subtests.test(name):
            said = re.findall(rf"^{fault.node.name}: (\w+): (.*)$", log.partition("\nbackup: ")[0], re.M)
            assert {job for job, _ in said} == {job for _, job, _ in hit[name]}, log
            assert all(re.search(fault.said, text) for _, text in said), said
            for copy in hit[name]:
                assert after[copy]["success_at"] == before[copy]["success_at"], copy
    assert newer(after, before) == before.keys() - set().union(*hit.values())
    assert had <= has, "nothing that was stored is lost"
    assert next_result == "success", next_log
    at_last = all_copies()
    assert {copy for copy, one in at_last.items() if one["exit_code"]} == set()
    assert newer(at_last, before) == before.keys()


def stored(node: site.Node, command: str) -> str:
    """What restic prints of the copies of a node, asked at their first store."""
    return site.shell(FIRST, f"{STORE} restic {node.name} {command}")


def checks() -> dict[str, Any]:
    """What the first store knows of each repository."""
    return dict(site.told(FIRST, "cat /var/lib/aicluster/backup_store.json"))


FLIP = (
    'import sys; file = open(sys.argv[1], "r+b"); file.seek(20); byte = file.read(1)[0] ^ 1; file.seek(20); '
    "file.write(bytes([byte]))"
)


def folders(node: site.Node) -> str:
    """A file of a repository with the names of files, which each check reads."""
    for index in stored(node, "list index --quiet").split():
        for pack in json.loads(stored(node, f"cat index {index} --quiet"))["packs"]:
            if pack["blobs"][0]["type"] == "tree":
                return str(pack["id"])
    raise AssertionError(f"{node.name} has no folder in its repository")


def test_a_flipped_byte_is_found_by_the_store_which_removes_nothing_and_the_documented_repair_helps():
    node = MONITORING
    assert unit(node, "aicluster-backup") == "success"
    # It packs anew what is left of files that it removes.
    site.shell(FIRST, "systemctl start aicluster-backup-store")
    pack, before = folders(node), ids(node)
    file = f"{STORED}/{node.name}/data/{pack[:2]}/{pack}"
    checked = checks()[node.name]["checked"]
    site.shell(FIRST, f"python3 -c '{FLIP}' {file}")
    assert unit(FIRST, "aicluster-backup-store") == "exit-code"
    known = checks()
    assert [name for name, one in known.items() if one["error"]] == [node.name]
    assert pack[:8] in known[node.name]["error"]
    assert known[node.name].get("checked") == checked
    assert ids(node) == before
    # docs/restore.md
    stored(node, f"repair packs {pack}")
    assert unit(node, "aicluster-backup") == "success"
    stored(node, "repair snapshots --forget")
    assert "no errors were found" in stored(node, "check --read-data")
    assert unit(FIRST, "aicluster-backup-store") == "success"


OLD = f"""python3 - <<'END'
import json
with open("{STAGING}/state.json", "r+") as file:
    state = json.load(file)
    for one in state["copies"]:
        one["success_at"] -= 21 * 3600
    file.seek(0)
    json.dump(state, file)
    file.truncate()
END
"""


def test_the_fallback_of_the_nodes_makes_the_copies_that_are_overdue():
    began = time.time()
    for node in backed_up():
        site.shell(node, f"{OLD}systemctl start aicluster-backup-fallback")
        log = f"journalctl --unit aicluster-backup-fallback --since @{began:.0f} --output=cat"
        assert "h old" in site.shell(node, log)
    site.wait_until(lambda: min(one["success_at"] for one in all_copies().values()) >= began, 300, "late", 2)
