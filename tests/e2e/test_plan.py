"""A plan tells the truth: nothing on a deployed site, and on bare nodes what the first run then did."""

import os
import re
from pathlib import Path

import pytest
import site_under_test as site

pytestmark = pytest.mark.looks
PLAN_LINE = re.compile(r"(?:\| )?(\w+) +([+~-]) (file|container|package|unit) (\S+)")


def test_a_check_of_a_deployed_site_changes_and_shows_nothing():
    run = site.run_site("--check", "--diff").succeeded()
    assert run.changed == {node.address: 0 for node in site.nodes()}
    assert not [line for line in run.output.splitlines() if re.match(r"(\+\+\+|---|@@) ", line)]
    assert not PLAN_LINE.findall(run.output)


@pytest.fixture(scope="module")
def promised() -> dict[str, dict[str, set[str]]]:
    """Node -> kind -> names that the check of the bare nodes said it would create or change."""
    log = os.environ.get("AICLUSTER_RUN_LOG")
    if log is None:
        pytest.skip("only a test from nothing checks bare nodes: make lab-down test-lab")
    runs = Path(log).read_text().split("PLAY RECAP")
    first = next((run for run in runs if "Foundation of all nodes" in run), "")
    found: dict[str, dict[str, set[str]]] = {}
    for node, _, kind, name in PLAN_LINE.findall(first):
        found.setdefault(node, {}).setdefault(kind, set()).add(name)
    return found


def test_the_check_of_bare_nodes_named_every_file_and_container_that_the_first_run_made(promised):
    for node in site.nodes():
        state = site.told(node, "cat /var/lib/aicluster/state.json")
        assert promised[node.name]["file"] == {*state["files"], *state["fragments"]}, node.name
        listed = "docker ps --all --format '{{.Label \"com.docker.compose.service\"}}'"
        assert promised[node.name].get("container", set()) == set(site.shell(node, listed).split()), node.name
