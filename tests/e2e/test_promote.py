"""The node of the primary dies under writes: its standby takes over with what was confirmed, and back again.

For `make test-full`: it deploys the site three times.
"""

import shlex
import subprocess
import time
from collections.abc import Iterator

import pytest
import site_under_test as site
from interrupted import postgres
from load import board
from verified import all_is_healthy

pytestmark = pytest.mark.full
PRIMARY, STANDBY = site.running("postgres")
EXEC = f"{site.COMPOSE} exec -T postgres"
# 50 rows a second over the network; the number of each is printed once it is confirmed.
WRITE = f"""{EXEC} sh -c '
export PGPASSWORD="$(cat /run/secrets/postgres/password)"
i=0; while sleep 0.02; do i=$((i + 1)); echo "insert into acked values ($i) returning i;"; done |
psql -qAt -h {PRIMARY.address} -p {PRIMARY.port("postgres", "sql")} -U postgres postgres; true'
"""
UNTIL_WRITABLE = f"""
until {EXEC} psql -qc 'insert into acked values (0)' -U postgres postgres 2> /dev/null; do sleep 0.2; done
date +%s.%N
"""
VOLUME = "/var/lib/docker/volumes/aicluster_postgres/_data"
WITHIN_S = 120


def begin(command: str) -> "subprocess.Popen[str]":
    argv = [*site.as_root(STANDBY), "sh", "-c", shlex.quote(command)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def said(node: site.Node, command: str) -> str:
    """What a command prints; nothing while the node is not up."""
    try:
        return site.shell(node, command)
    except RuntimeError:
        return ""


def promote(node: site.Node) -> site.Run:
    return site.run_confirmed("playbooks/promote.yml", "-e", f"node={node.name}")


def wait_for_standby(node: site.Node) -> None:
    state = f"{EXEC} /opt/aicluster/server state"
    late = f"{node.name} does not follow"
    site.wait_until(lambda: '"streaming" : 1' in said(node, state), WITHIN_S, late, 2)


@pytest.fixture
def table() -> Iterator[None]:
    postgres("drop table if exists acked")
    postgres("create table acked (i int primary key)")
    yield
    postgres("drop table acked")
    for node in (PRIMARY, STANDBY):
        site.shell(node, f"rm -rf {VOLUME}/before_*")


@pytest.mark.usefixtures("table")
def test_a_dead_primary_is_replaced_becomes_the_standby_and_the_primary_again(record_property):
    with begin(WRITE) as writer, begin(UNTIL_WRITABLE) as writable:
        time.sleep(10)
        board(PRIMARY).kill()
        killed = time.time()
        refused = promote(PRIMARY)
        promoted = promote(STANDBY)
        record_property("seconds until the run had ended", round(time.time() - killed, 1))
        record_property(
            "seconds until writable", round(float(writable.communicate(timeout=WITHIN_S)[0]) - killed, 1)
        )
        writer.terminate()
        confirmed = int((writer.communicate()[0].split() or ["0"])[-1])
    assert "is the primary already" in refused.output
    assert f"{STANDBY.name} takes writes" in promoted.output, promoted.output
    count = f"{EXEC} psql -U postgres -Atc 'select count(*) from acked where i > 0' postgres"
    lost = confirmed - int(site.shell(STANDBY, count))
    record_property("rows confirmed", confirmed)
    record_property("rows lost", lost)
    assert confirmed > 100
    assert lost < 50, "a second of what was confirmed"

    board(PRIMARY).start()
    refuses, logs = f"{STANDBY.name} is the primary", f"{site.COMPOSE} logs postgres"
    late = "the old primary does not refuse to start"
    site.wait_until(lambda: refuses in said(PRIMARY, logs), 10 * WITHIN_S, late, 2)
    site.run_site().succeeded()
    wait_for_standby(PRIMARY)
    assert site.shell(PRIMARY, f"ls -d {VOLUME}/before_*/PG_VERSION")

    promote(PRIMARY).succeeded()
    wait_for_standby(STANDBY)
    all_is_healthy()
