"""One more AI node is one more entry of the inventory; requests reach it, and stop when it is taken out."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
import site_under_test as site
import yaml
from aicluster_lab.sitedata import OVERLAY
from http_client import post
from project_copy import copy_of_the_project
from tree import ROOT
from verified import verify

NAME = "AGX1"
QUESTION = {"messages": [{"role": "user", "content": "hello"}], "stream": False}
REQUESTS = 50


def bring_nodes_to(overlay: str) -> None:
    """Have the lab make the nodes of the inventory, and remove those it no longer has."""
    made = subprocess.run(
        [sys.executable, "lab/lab.py", "nodes"],
        cwd=ROOT,
        env=site.environment() | ({OVERLAY: overlay} if overlay else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> Iterator[Path]:
    """The project with one more node like the biggest in its inventory, and the site brought to it."""
    project = copy_of_the_project(tmp_path_factory.mktemp("another") / "project")
    [like] = [node for node in site.nodes() if node.entry["tier"] == "primary_ai"]
    address = str(max(ip_address(node.address) for node in site.nodes()) + 1)
    [board] = [name for name in like.groups if name.startswith("jetson_")]
    facts = {"node_name": NAME, "node_disk_gb": like.entry["disk_gb"]}
    groups = {"primary_ai": facts, board: {}, "lab": {}}
    entry = project / "inventory" / "lab" / "another.yml"
    entry.write_text(yaml.safe_dump({group: {"hosts": {address: groups[group]}} for group in groups}))
    bring_nodes_to(str(entry))
    run = site.run_playbook("site.yml", root=project)
    assert run.code == 0, run.output
    yield project
    without = site.run_site()
    assert without.code == 0, without.output
    bring_nodes_to("")


@pytest.mark.usefixtures("joined")
def test_requests_reach_it_and_its_tier_shares_what_one_node_had(gateway_url, api_key):
    answers = [post(f"{gateway_url}/api/v1/chat", QUESTION, api_key) for _ in range(REQUESTS)]
    assert {answer.status for answer in answers} == {200}
    counts = Counter(answer.headers["X-AI-Node"] for answer in answers)
    # The tier's 80 % in equal parts, 20 % elsewhere.
    assert counts == {"AGX0": REQUESTS * 4 // 10, NAME: REQUESTS * 4 // 10, "ORIN0": REQUESTS // 5}


def test_it_is_watched_and_well_and_so_are_all_others(joined):
    verdict = verify(root=joined)
    assert verdict.ok, verdict.report["failures"]
    assert ("ollama", NAME) in verdict.states()


def test_the_others_do_nothing_on_the_next_run(joined):
    again = site.run_playbook("site.yml", root=joined)
    assert again.code == 0, again.output
    assert set(again.changed.values()) == {0}
