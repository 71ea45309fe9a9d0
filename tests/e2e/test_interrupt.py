"""Kill the controller anywhere: the next run repairs it and nothing is lost.

AICLUSTER_INTERRUPTIONS says how often (once; `make test-full`: 10), AICLUSTER_SEED repeats a run's moments.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
import site_under_test as site
from tree import ROOT

ROUNDS = int(os.environ.get("AICLUSTER_INTERRUPTIONS", "1"))
SEED = int(os.environ.get("AICLUSTER_SEED", str(random.SystemRandom().randrange(10_000))))

# What is taken away, so that a run has work on every node: files, containers, what the engine remembers.
DAMAGE = (
    "rm -f /var/lib/aicluster/state.json /etc/docker/daemon.json;"
    " find /opt/aicluster -type f -name '*.y*ml' -delete 2>/dev/null;"
    " docker ps --all --quiet | xargs --no-run-if-empty docker rm --force"
)


def postgres(statement: str) -> str:
    backend = site.running("postgres")[0]
    container = site.shell(backend, "docker ps --quiet --filter label=aicluster.service=postgres").strip()
    return site.shell(backend, f"docker exec -u postgres {container} psql -tAc '{statement}'").strip()


def damage() -> None:
    for node in site.nodes():
        site.shell(node, DAMAGE)


@pytest.fixture(scope="module")
def full_run_s() -> float:
    """Seconds a run takes that repairs the damage undisturbed."""
    damage()
    began = time.monotonic()
    run = site.run_site()
    assert run.code == 0, run.output
    return time.monotonic() - began


@pytest.fixture(scope="module")
def rows() -> Iterator[str]:
    postgres("create table survives (round int)")
    postgres("insert into survives values (1), (2), (3)")
    yield postgres("select count(*) from survives")
    postgres("drop table survives")


def kill_after(seconds: float) -> str:
    """Start site.yml, SIGKILL it with all its forks after `seconds`; what it had printed."""
    with subprocess.Popen(
        site.PLAYBOOK,
        cwd=ROOT,
        env=site.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as controller:
        time.sleep(seconds)
        os.killpg(controller.pid, signal.SIGKILL)
        assert controller.stdout
        return controller.stdout.read()


@pytest.mark.parametrize("attempt", range(ROUNDS), ids=lambda number: f"kill {number + 1}")
def test_the_run_after_a_kill_converges_and_the_one_after_it_changes_nothing(attempt, full_run_s, rows):
    moment = random.Random(f"{SEED}/{attempt}").uniform(1.0, full_run_s)
    print(f"AICLUSTER_SEED={SEED}: killed after {moment:.1f} s of {full_run_s:.1f} s")
    damage()
    cut = kill_after(moment)
    repaired = site.run_site()
    assert repaired.code == 0, f"killed here:\n{cut[-2000:]}\n\nthe next run:\n{repaired.output[-4000:]}"
    again = site.run_site()
    assert again.code == 0
    assert again.changed == {node.address: 0 for node in site.nodes()}
    assert postgres("select count(*) from survives") == rows
