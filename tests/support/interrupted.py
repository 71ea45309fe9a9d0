"""A run of site.yml that is killed anywhere, on nodes where it has work to do."""

import os
import random
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

import site_under_test as site
from tree import ROOT

SEED = int(os.environ.get("AICLUSTER_SEED", str(random.SystemRandom().randrange(10_000))))
# So that a run has work on every node: files and containers are taken away, dpkg was cut off.
DAMAGE = (
    "rm -f /etc/docker/daemon.json; find /opt/aicluster -type f -name '*.y*ml' -delete 2>/dev/null;"
    " docker ps --all --quiet | xargs --no-run-if-empty docker rm --force;"
    " sed -i '/^Package: sudo$/,/^$/ s/^Status: .*/Status: install ok half-configured/' /var/lib/dpkg/status"
)
FORGET = "; rm -f /var/lib/aicluster/state.json"


def damage(nodes: Iterable[site.Node], remembering: Collection[site.Node] = ()) -> None:
    """Damage nodes; what `remembering` ones no longer run can still be removed afterwards."""
    for node in nodes:
        site.shell(node, DAMAGE if node in remembering else DAMAGE + FORGET)


def moment(attempt: int, longest_s: float) -> float:
    """The seconds after which an attempt is killed; AICLUSTER_SEED repeats them."""
    seconds = random.Random(f"{SEED}/{attempt}").uniform(1.0, longest_s)
    print(f"AICLUSTER_SEED={SEED}: killed after {seconds:.1f} s")
    return seconds


def kill_after(seconds: float, root: Path = ROOT) -> str:
    """Start site.yml, SIGKILL it with all its forks after `seconds`; what it had printed."""
    with site.begin("site.yml", root=root, own_group=True) as controller:
        time.sleep(seconds)
        os.killpg(controller.pid, signal.SIGKILL)
        assert controller.stdout
        return controller.stdout.read()


def postgres(statement: str) -> str:
    [backend, *_] = site.running("postgres")
    psql = f"{site.COMPOSE} exec -T -u postgres postgres psql -tAc"
    return site.shell(backend, f"{psql} '{statement}'").strip()
