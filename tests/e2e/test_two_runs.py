"""Two runs at once: the second leaves the node to the first and says whose it is, until that one is dead."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
import site_under_test as site

EDGE = next(node for node in site.nodes() if "edge" in node.groups)
LOCK = "/run/aicluster.lock"
# Somebody tries a setting by hand: a run has the file to put back and the container to make anew.
EDITED = f"""
sed -i 's/pids_limit: .*/pids_limit: 99/' /opt/aicluster/nginx/compose.yaml
{site.COMPOSE} up --detach nginx
"""
PIDS = f"docker inspect --format '{{{{.HostConfig.PidsLimit}}}}' $({site.COMPOSE} ps --quiet nginx)"


def holder() -> dict[str, object]:
    """Who holds the node, as it is written there."""
    said: dict[str, object] = json.loads(site.shell(EDGE, f"cat {LOCK}") or "{}")
    return said


@pytest.fixture
def first_run() -> Iterator[subprocess.Popen[str]]:
    """A run that holds the node, and stands still."""
    before = site.shell(EDGE, PIDS)
    site.shell(EDGE, EDITED)
    assert site.shell(EDGE, PIDS) == "99\n" != before
    with site.begin("site.yml", "--limit", EDGE.address, own_group=True) as run:
        while not (now := holder()) or now["pid"] != run.pid:
            assert run.poll() is None, run.communicate()[0]
            time.sleep(0.2)
        os.killpg(run.pid, signal.SIGSTOP)
        yield run
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)


def test_the_second_run_names_the_first_and_does_its_work_once_that_is_dead(first_run):
    second = site.run_site("--limit", EDGE.address)
    assert second.code != 0
    said = " ".join(second.output.split())
    assert f"node {EDGE.name} held by " in said
    assert f"(pid {first_run.pid}, site.yml) since {holder()['since']}" in said
    os.killpg(first_run.pid, signal.SIGKILL)
    first_run.wait()
    site.run_site("--limit", EDGE.address).succeeded()
    assert site.run_site("--limit", EDGE.address).changed == {EDGE.address: 0}
    assert holder() == {}
    assert site.shell(EDGE, PIDS) != "99\n"
