"""Every node's data reaches two other nodes at night, and nothing that is stored can be taken back."""

import json

import pytest
import site_under_test as site
from copies import CONTROL, DATA, DRILL, FIRST, RESTIC, back_up, backed_up, copies, snapshots

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
    result, peak = site.shell(CONTROL, NIGHT).split()
    return result, int(peak)


def test_the_unit_of_the_timer_backs_up_all_of_every_node_to_two_others(night):
    assert night[0] == "success"
    stores = {node.name for node in site.running("backup_store")}
    for node in backed_up():
        made = copies(node).values()
        assert [one for one in made if one["exit_code"]] == [], node.name
        assert {one["copy"] for one in made} == {1, 2}
        assert {one["store"] for one in made} <= stores - {node.name}
    assert 0 < night[1] < MEMORY_LIMIT_MB * 1024, "it fits into the memory of the control node"


@pytest.mark.full
def test_a_second_night_adds_next_to_nothing():
    report = back_up()
    assert report["ok"]
    made = [made for node in report["nodes"] for made in node["snapshots"]]
    there = [one for node in backed_up() for one in copies(node).values()]
    assert len(made) == len(there)
    # Logs of the last minutes and new dumps: nothing is stored twice.
    assert report["bytes"] < sum(one["size_bytes"] for one in there) / 2


def test_with_the_credentials_of_a_node_nothing_stored_can_be_deleted():
    before = snapshots(DATA)
    forget = f"{RESTIC.format(1)} forget latest --prune --tag postgres"
    assert "403" in site.shell(DATA, f"{forget} 2>&1; echo $?")
    assert snapshots(DATA) == before


def test_the_key_of_the_timer_can_only_start_the_backup():
    key = "/var/lib/aicluster-toolkit/.ssh/backup_ed25519"
    login = f"sudo -u aicluster ssh -oBatchMode=yes -oIdentitiesOnly=yes -i {key} {DATA.user}@{DATA.address}"
    answer = site.shell(CONTROL, f"{login} cat /etc/shadow")
    assert "root:" not in answer
    assert json.loads(answer.splitlines()[-1])["event"] == "end"


@pytest.mark.parametrize("copy", [2, pytest.param(1, marks=pytest.mark.full)])
def test_the_first_store_restores_what_has_a_drill_and_leaves_nothing(copy):
    site.shell(FIRST, f"{DRILL} run --copy {copy}")
    wanted = site.told(FIRST, "cat /opt/aicluster/backup_store/drills.json")
    drills = site.told(FIRST, "cat /var/lib/aicluster/drill.json")["drills"]
    assert {(one["node"], one["job"]) for one in drills} == {(one["node"], one["job"]) for one in wanted}
    assert {one["job"] for one in drills} >= {"postgres", "minio", "jupyterhub", "grafana", "kong"}
    for one, asked in zip(drills, wanted, strict=True):
        assert not one["error"], one
        number = min(copy, len(asked["stores"]))
        assert one["copies"][str(number)]["store"] == asked["stores"][number - 1]
    left = "find /var/lib/aicluster -path '*/drill/*'; docker ps --all --quiet --filter label=aicluster.drill"
    assert site.shell(FIRST, left) == ""
