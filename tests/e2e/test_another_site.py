"""Another site: a service moved by one line, and an AI node more by one entry of the inventory.

The run that brings the nodes there is killed at a random moment, after files and containers were taken away:
the next one makes up for all of it. Whatever knows of the service and of the node follows.
"""

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import interrupted
import pytest
import site_under_test as site
import yaml
from aicluster_lab.ask import environment
from aicluster_lab.sitedata import OVERLAY
from http_client import get, post
from interrupted import postgres
from load import QUESTION
from project_copy import copy_of_the_project
from prometheus_api import data
from tree import ROOT
from verified import Verdict, verify

pytestmark = [pytest.mark.last, pytest.mark.usefixtures("changed")]
SERVICE = "sonarqube"
# Stays on the old node.
DOWN = "jupyterhub"
LINE = f"  - {SERVICE}\n"
FROM, TO = "group_vars/secondary_ai/services.yml", "group_vars/backend/services.yml"
[OLD] = site.running(SERVICE)
NEW, *_ = site.running("postgres")
[CONTROL] = site.running("control_node")
NAME = "AGX1"
# Hardened images come with it.
STRICT = "echo 'Defaults umask=0077, umask_override' > /etc/sudoers.d/strict"
AS_BEFORE = "rm /etc/sudoers.d/strict"
REQUESTS = 50
# The run takes longer than that.
KILLED_WITHIN_S = 60


def bring_nodes_to(overlay: str) -> None:
    """Have the lab make the nodes of the inventory, and remove those it no longer has."""
    made = subprocess.run(
        [sys.executable, "lab/lab.py", "nodes"],
        cwd=ROOT,
        env=environment(ROOT) | ({OVERLAY: overlay} if overlay else {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout + made.stderr


def with_another_node(project: Path) -> tuple[Path, site.Node]:
    """Add a node like the biggest; return its entry of the inventory and the node."""
    [like] = [node for node in site.nodes() if node.entry["tier"] == "primary_ai"]
    address = str(max(ip_address(node.address) for node in site.nodes()) + 1)
    [board] = [name for name in like.groups if name.startswith("jetson_")]
    facts = {"node_name": NAME, "node_disk_gb": like.entry["disk_gb"]}
    groups = {"primary_ai": facts, board: {}, "lab": {}}
    entry = project / "inventory" / "lab" / "another.yml"
    entry.write_text(yaml.safe_dump({group: {"hosts": {address: groups[group]}} for group in groups}))
    return entry, replace(like, ssh=like.ssh.replace(like.address, address))


def move_service(project: Path) -> None:
    """Move one line to another file; its port is taken there: the refusal says which line to write."""
    before = (project / FROM).read_text()
    assert before.count(LINE) == 1
    (project / FROM).write_text(before.replace(LINE, ""))
    there = (project / TO).read_text()
    (project / TO).write_text(there + LINE)
    refused = site.run_playbook("site.yml", root=project)
    assert refused.code != 0
    [line] = set(re.findall(rf"`(- {SERVICE}: .*)`", refused.output))
    (project / TO).write_text(f"{there}  {line}\n")


@dataclass(frozen=True)
class Changed:
    """The project as its user changed it, and the run after the one that made up for a killed one."""

    project: Path
    again: site.Run
    rows: tuple[str, str]


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Changed]:
    """The site as the changed project describes it; afterwards, in a lab that stays, as this one does."""
    project = copy_of_the_project(tmp_path_factory.mktemp("another") / "project")
    move_service(project)
    entry, another = with_another_node(project)
    bring_nodes_to(str(entry))
    for node in (another, CONTROL):
        site.shell(node, STRICT)
    postgres("create table survives (round int)")
    postgres("insert into survives values (1), (2), (3)")
    rows = postgres("select count(*) from survives")
    interrupted.damage([OLD, NEW], remembering=[OLD])
    cut = interrupted.kill_after(interrupted.moment(0, KILLED_WITHIN_S), root=project)
    repaired = site.run_playbook("site.yml", root=project)
    assert repaired.code == 0, f"killed here:\n{cut[-2000:]}\n\nthe next run:\n{repaired.output[-4000:]}"
    again = site.run_playbook("site.yml", root=project)
    yield Changed(project, again, (rows, postgres("select count(*) from survives")))
    if "AICLUSTER_RUN_LOG" in os.environ and "AICLUSTER_FULL" not in os.environ:
        return  # This lab was made for the tests and goes away now.
    site.shell(CONTROL, AS_BEFORE)
    postgres("drop table survives")
    site.run_site().succeeded()
    bring_nodes_to("")


@pytest.fixture(scope="module")
def verdict(changed: Changed) -> Verdict:
    """What verify says of the changed site."""
    return verify(root=changed.project)


def test_the_run_after_a_kill_converges_and_the_one_after_it_changes_nothing(changed):
    assert len(changed.again.succeeded().changed) == len(site.nodes()) + 1
    assert set(changed.again.changed.values()) == {0}


def test_with_a_strict_umask_of_root_others_can_still_use_the_installed_toolkit():
    """Whoever starts it: it becomes a user of its own."""
    said = site.shell(CONTROL, "umask; /opt/aicluster/bin/aicluster-toolkit ansible-inventory --version")
    assert said.startswith("0077\nansible-inventory [core ")


def test_packages_dpkg_was_cut_off_in_are_whole_again():
    assert {node.name: site.shell(node, "dpkg --audit") for node in site.nodes()} == {
        node.name: "" for node in site.nodes()
    }


def test_no_row_is_lost(changed):
    before, after = changed.rows
    assert after == before == "3"


def test_requests_reach_the_new_node_and_its_tier_shares_what_one_node_had(gateway_url, api_key):
    answers = [post(f"{gateway_url}/api/v1/chat", QUESTION, api_key) for _ in range(REQUESTS)]
    assert {answer.status for answer in answers} == {200}
    counts = Counter(answer.headers["X-AI-Node"] for answer in answers)
    # The tier's 80 % in equal parts, 20 % elsewhere.
    assert counts == {"AGX0": REQUESTS * 4 // 10, NAME: REQUESTS * 4 // 10, "ORIN0": REQUESTS // 5}


def test_the_new_node_is_watched_and_everything_is_healthy(verdict):
    assert verdict.ok, verdict.report["failures"]
    assert ("ollama", NAME) in verdict.states()


def test_the_service_is_healthy_where_it_is_now(verdict):
    states = verdict.states()
    assert states[SERVICE, NEW.name] == "healthy"
    assert (SERVICE, OLD.name) not in states


def test_the_gateway_asks_the_node_it_moved_to(gateway_url, api_key):
    asked = f"{gateway_url}/api/v1/code/quality/api/system/status"
    answer = get(asked, key=api_key)
    # The old node does not listen any more, see below.
    assert answer.status == 200, answer.body


def test_prometheus_and_the_portal_follow(gateway_url):
    # The other one, of the monitoring tier, watches this one.
    [prometheus] = [node for node in site.running("prometheus") if "kong" in node.services]
    targets = [target["labels"] for target in data(prometheus, "targets?state=active")["activeTargets"]]
    assert [target["node"] for target in targets if target["job"] == SERVICE] == [NEW.name]
    page = get(f"{gateway_url}/").body.decode()
    assert f'data-node="{NEW.name}" data-service="{SERVICE}"' in page
    assert f'data-node="{OLD.name}" data-service="{SERVICE}"' not in page


def test_nothing_of_it_is_left_on_the_old_node():
    port = OLD.port(SERVICE, "web")
    of_it = f"label=aicluster.service={SERVICE}"
    assert site.shell(OLD, f"docker ps --all --quiet --filter {of_it}") == ""
    assert site.shell(OLD, f"ss -Htln sport = :{port}") == ""
    assert site.shell(OLD, f"find /opt/aicluster -path '*{SERVICE}*'") == ""
    assert SERVICE not in site.shell(OLD, "cat /opt/aicluster/compose.yaml /var/lib/aicluster/state.json")
    profiles = site.shell(OLD, "/opt/aicluster/bin/aicluster_profile.py")
    assert SERVICE not in profiles and "quality" not in profiles


@pytest.mark.full
def test_its_data_stays_until_the_leftovers_are_removed_on_purpose(changed):
    def listed() -> str:
        return site.shell(OLD, "docker volume ls -q; docker image ls --format '{{.Repository}}'")

    assert SERVICE in listed()
    # What is placed here and only down, for an hour of maintenance, is no leftover.
    site.shell(OLD, f"docker compose --project-directory /opt/aicluster rm --stop --force {DOWN}")
    running = site.shell(OLD, "docker ps -q")
    arguments = ("--limit", OLD.address, "-e", "leftovers=true")
    site.run_confirmed("playbooks/cleanup.yml", *arguments, root=changed.project).succeeded()
    assert SERVICE not in listed()
    assert f"aicluster_{DOWN}_state" in listed() and f"/{DOWN}" in listed(), "its data, and its image"
    assert site.shell(OLD, "docker ps -q") == running
