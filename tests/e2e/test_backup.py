"""Every node's data reaches two other nodes at night, and nothing that is stored can be taken back."""

import json
import shlex

import pytest
import site_under_test as site
from copies import AGENT, DRILL, RESTIC, backed_up, by_hand, copies, first_store, restic, snapshots

# Copies break nothing, and alerts of a new site calm down meanwhile.
pytestmark = [pytest.mark.looks, pytest.mark.usefixtures("night")]
MEMORY_LIMIT_MB = 300

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


@pytest.fixture(scope="session")
def night() -> tuple[str, int]:
    """One night, by the unit that PI31's timer starts: its result, and the KiB its processes took."""
    [control] = site.running("control_node")
    result, peak = site.shell(control, NIGHT).split()
    return result, int(peak)


def test_the_unit_of_the_timer_backs_up_all_of_every_node(night):
    assert night[0] == "success"
    for node in backed_up():
        made = copies(node)
        assert made, node.name
        assert [name for name, one in made.items() if one["exit_code"]] == [], node.name


def test_the_night_fits_into_the_memory_of_the_control_node(night):
    assert 0 < night[1] < MEMORY_LIMIT_MB * 1024


def test_what_a_node_keeps_is_on_two_other_nodes():
    stores = {node.name for node in site.running("backup_store")}
    for node in backed_up():
        made = copies(node).values()
        assert {one["store"] for one in made} <= stores - {node.name}
        assert {one["copy"] for one in made} == {1, 2}


@pytest.mark.full
def test_a_second_night_adds_next_to_nothing():
    code, report = by_hand()
    assert code == 0, report
    assert report["ok"]
    made = [made for node in report["nodes"] for made in node["snapshots"]]
    there = [one for node in backed_up() for one in copies(node).values()]
    assert len(made) == len(there)
    # Logs of the last minutes and new dumps: nothing is stored twice.
    assert report["bytes"] < sum(one["size_bytes"] for one in there) / 2


def test_the_dump_of_the_database_can_be_read_from_the_store_and_has_its_manifest():
    [node, *_] = site.running("postgres")
    manifest = json.loads(restic(node, "dump --tag postgres latest /staging/postgres/manifest.json"))
    database = site.variable(node, "site_database")
    assert database in manifest["databases"]
    dump = f"{RESTIC.format(1)} dump --tag postgres latest /staging/postgres/{database}.dump"
    listed = site.shell(node, f"{dump} | {site.COMPOSE} exec -T postgres pg_restore --list")
    assert "dbname: " + database in listed


@pytest.mark.parametrize("command", ["forget latest --tag postgres", "forget latest --prune --tag postgres"])
def test_with_the_credentials_of_a_node_nothing_stored_can_be_deleted(command):
    [node, *_] = site.running("postgres")
    before = snapshots(node)
    assert "403" in site.shell(node, f"{RESTIC.format(1)} {command} 2>&1; echo $?")
    assert snapshots(node) == before


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


def test_a_second_run_at_the_same_time_is_refused_and_names_the_first():
    [node, *_] = site.running("postgres")
    lock, holder = "/run/lock/aicluster-backup", json.dumps({"pid": 1, "since": 0, "by": "a test"})
    held = f"echo {shlex.quote(holder)} > {lock}; flock {lock} {AGENT} run 2>&1; echo rc=$?"
    said = site.shell(node, held)
    assert "a backup runs already: pid 1" in said
    assert "started by a test" in said
    assert said.rstrip().endswith("rc=75")


@pytest.mark.parametrize("copy", [2, pytest.param(1, marks=pytest.mark.full)])
def test_the_first_store_restores_what_has_a_drill_and_leaves_nothing(copy):
    store = first_store()
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
