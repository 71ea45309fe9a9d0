"""Every node's data reaches two other nodes at night, and nothing that is stored can be taken back."""

import json
import shlex
import subprocess
import sys
from typing import Any

import pytest
import site_under_test as site
from tree import ROOT

pytestmark = pytest.mark.usefixtures("night")
AGENT = "/opt/aicluster/bin/aicluster_backup.py"
DRILL = "/opt/aicluster/bin/aicluster_drill.py"
MEMORY_LIMIT_MB = 300
COMPOSE = "docker compose --project-directory /opt/aicluster"
RESTIC = "docker exec backup restic --repository-file /run/secrets/backup/store_1"


def backed_up() -> list[site.Node]:
    """The nodes with something to keep."""
    return site.running("backup")


def status(node: site.Node) -> dict[str, Any]:
    """What a node says of its copies."""
    return dict(json.loads(site.shell(node, f"{AGENT} status")))


def restic(node: site.Node, command: str) -> subprocess.CompletedProcess[str]:
    """A command of restic with the credentials of a node."""
    return subprocess.run(
        [*site.as_root(node), "sh", "-c", shlex.quote(f"{RESTIC} {command}")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def by_hand() -> tuple[int, dict[str, Any]]:
    """Exit code and report of `bin/backup --json`."""
    ran = subprocess.run(
        ["bin/backup", "--json", *site.inventory_arguments()],
        cwd=ROOT,
        env=site.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stdout.write(ran.stderr)
    return ran.returncode, json.loads(ran.stdout)


NIGHT = """
systemctl start --no-block aicluster-nightly.service
peak=0
while [ "$(systemctl show --property ActiveState --value aicluster-nightly.service)" = activating ]; do
  now=$(ps -u aicluster -o rss= | awk '{sum += $1} END {print sum + 0}')
  if [ "$now" -gt "$peak" ]; then peak=$now; fi
  sleep 0.2
done
echo "$(systemctl show --property Result --value aicluster-nightly.service) $peak"
"""


@pytest.fixture(scope="module")
def night() -> tuple[str, int]:
    """One night, by the unit that PI31's timer starts: its result, and the KiB its processes took."""
    [control] = site.running("control_node")
    result, peak = site.shell(control, NIGHT).split()
    return result, int(peak)


def test_the_unit_of_the_timer_backs_up_all_of_every_node(night):
    assert night[0] == "success"
    for node in backed_up():
        copies = status(node)["copies"]
        assert copies, node.name
        assert [one["job"] for one in copies if one["exit_code"]] == [], node.name


def test_the_night_fits_into_the_memory_of_the_control_node(night):
    assert 0 < night[1] < MEMORY_LIMIT_MB * 1024


def test_what_a_node_keeps_is_on_two_other_nodes():
    stores = {node.name for node in site.running("backup_store")}
    for node in backed_up():
        copies = status(node)["copies"]
        assert {one["store"] for one in copies} <= stores - {node.name}
        assert {one["copy"] for one in copies} == {1, 2}


def test_a_second_night_adds_next_to_nothing():
    code, report = by_hand()
    assert code == 0, report
    assert report["ok"]
    made = [made for node in report["nodes"] for made in node["snapshots"]]
    assert len(made) == sum(len(status(node)["copies"]) for node in backed_up())
    # Logs of the last minutes and new dumps: nothing is stored twice.
    assert (
        report["bytes"] < sum(one["size_bytes"] for node in backed_up() for one in status(node)["copies"]) / 2
    )


def test_the_dump_of_the_database_can_be_read_from_the_store_and_has_its_manifest():
    [node, *_] = site.running("postgres")
    read = restic(node, "dump --tag postgres latest /staging/postgres/manifest.json")
    assert read.returncode == 0, read.stderr
    manifest = json.loads(read.stdout)
    database = site.variable(node, "site_database")
    assert database in manifest["databases"]
    dump = f"{RESTIC} dump --tag postgres latest /staging/postgres/{database}.dump"
    listed = site.shell(node, f"{dump} | {COMPOSE} exec -T postgres pg_restore --list")
    assert "dbname: " + database in listed


@pytest.mark.parametrize("command", ["forget latest --tag postgres", "forget latest --prune --tag postgres"])
def test_with_the_credentials_of_a_node_nothing_stored_can_be_deleted(command):
    [node, *_] = site.running("postgres")
    before = json.loads(restic(node, "snapshots --json").stdout)
    refused = restic(node, command)
    assert refused.returncode != 0 or "403" in refused.stderr, refused.stdout
    assert json.loads(restic(node, "snapshots --json").stdout) == before


def test_the_key_of_the_timer_can_only_start_the_backup():
    [control] = site.running("control_node")
    [node, *_] = site.running("postgres")
    key = "/var/lib/aicluster-toolkit/.ssh/backup_ed25519"
    login = (
        f"sudo -u aicluster ssh -o BatchMode=yes -o IdentitiesOnly=yes -i {key} {node.user}@{node.address}"
    )
    answer = site.shell(control, f"{login} cat /etc/shadow")
    assert "root:" not in answer
    assert json.loads(answer.splitlines()[-1])["event"] == "end"


def by_copy(node: site.Node) -> dict[tuple[str, str], Any]:
    """What a node remembers of each copy, by job and store."""
    return {(one["job"], one["store"]): one for one in status(node)["copies"]}


def test_a_database_and_a_store_that_are_down_fail_their_copies_and_no_others():
    [data, *_] = site.running("postgres")
    nodes = backed_up()
    [store] = [node for node in site.running("backup_store") if "secondary_ai" in node.groups]
    before = {node: by_copy(node) for node in nodes}
    site.shell(data, f"{COMPOSE} stop postgres")
    site.shell(store, f"{COMPOSE} stop backup_store")
    try:
        code, report = by_hand()
    finally:
        site.shell(store, f"{COMPOSE} start backup_store")
        site.shell(data, f"{COMPOSE} up --detach --wait postgres")
    after = {node: by_copy(node) for node in nodes}
    expected = {
        (node.name, *name)
        for node, copies in before.items()
        for name in copies
        if name[1] == store.name or (node == data and name[0] == "postgres")
    }
    failed = {
        (node.name, *name)
        for node, copies in after.items()
        for name, one in copies.items()
        if one["exit_code"]
    }
    assert code != 0
    assert failed == expected
    told = {node["node"]: " ".join(node["failures"]) for node in report["nodes"]}
    assert "postgres" in told[data.name]
    assert "does not answer" in told[data.name]
    for node, copies in before.items():
        for name, one in copies.items():
            same = after[node][name]["success_at"] == one["success_at"]
            assert same is ((node.name, *name) in expected), (node.name, *name)
    code, report = by_hand()
    assert code == 0, report


def test_a_second_run_at_the_same_time_is_refused_and_names_the_first():
    [node, *_] = site.running("postgres")
    lock, holder = "/run/lock/aicluster-backup", json.dumps({"pid": 1, "since": 0, "by": "a test"})
    held = f"echo {shlex.quote(holder)} > {lock}; flock {lock} {AGENT} run 2>&1; echo rc=$?"
    said = site.shell(node, held)
    assert "a backup runs already: pid 1" in said
    assert "started by a test" in said
    assert said.rstrip().endswith("rc=75")


@pytest.mark.parametrize("copy", [1, 2])
def test_the_first_store_restores_what_has_a_drill_and_leaves_nothing(copy):
    store = max(site.running("backup_store"), key=lambda node: node.services["backup_store"]["disk_gb"])
    site.shell(store, f"{DRILL} run --copy {copy}")
    wanted = json.loads(site.shell(store, "cat /opt/aicluster/backup_store/drills.json"))
    drills = json.loads(site.shell(store, "cat /var/lib/aicluster/drill.json"))["drills"]
    assert {(one["node"], one["job"]) for one in drills} == {(one["node"], one["job"]) for one in wanted}
    assert {one["job"] for one in drills} >= {"postgres", "minio", "jupyterhub", "grafana"}
    for one, asked in zip(drills, wanted, strict=True):
        assert not one["error"], one
        number = min(copy, len(asked["stores"]))
        assert one["copies"][str(number)]["store"] == asked["stores"][number - 1]
    left = "find /var/lib/aicluster -path '*/drill/*'; docker ps --all --quiet --filter label=aicluster.drill"
    assert site.shell(store, left) == ""
