"""Moving a service takes one line; whatever knows of it follows, and nothing of it stays behind."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import site_under_test as site
from http_client import get
from project_copy import copy_of_the_project
from tree import ROOT
from verified import verify

SERVICE = "sonarqube"
# Stays on the old node.
DOWN = "jupyterhub"
LINE = f"  - {SERVICE}\n"
FROM, TO = "group_vars/secondary_ai/services.yml", "group_vars/backend/services.yml"


@pytest.fixture(scope="module")
def old() -> site.Node:
    [node] = site.running(SERVICE)
    return node


@pytest.fixture(scope="module")
def new() -> site.Node:
    [node] = site.running("postgres")
    return node


@pytest.fixture(scope="module")
def moved(tmp_path_factory) -> Iterator[Path]:
    """The project with one line in another file, and the site brought to it."""
    project = copy_of_the_project(tmp_path_factory.mktemp("moved") / "project")
    before = (project / FROM).read_text()
    assert before.count(LINE) == 1
    (project / FROM).write_text(before.replace(LINE, ""))
    there = (project / TO).read_text()
    (project / TO).write_text(there + LINE)
    # Its port belongs to another service there: refused, with the line to write instead.
    refused = site.run_playbook("site.yml", root=project)
    assert refused.code != 0
    [line] = set(re.findall(rf"`(- {SERVICE}: .*)`", refused.output))
    (project / TO).write_text(f"{there}  {line}\n")
    run = site.run_playbook("site.yml", root=project)
    assert run.code == 0, run.output
    yield project
    back = site.run_site()
    assert back.code == 0, back.output


def test_every_service_is_well_where_it_is_now(moved, old, new):
    verdict = verify(root=moved)
    assert verdict.ok, verdict.report["failures"]
    states = verdict.states()
    assert states[SERVICE, new.name] == "ok"
    assert (SERVICE, old.name) not in states


@pytest.mark.usefixtures("moved")
def test_the_gateway_asks_the_new_node(gateway_url, api_key):
    asked = f"{gateway_url}/api/v1/code/quality/api/system/status"
    answer = get(asked, key=api_key)
    # The old node does not listen any more, see below.
    assert answer.status == 200, answer.body


def test_prometheus_the_portal_and_the_budget_follow(moved, old, new, gateway_url):
    # The other one, of the monitoring tier, watches this one.
    [prometheus] = [node for node in site.running("prometheus") if "kong" in node.services]
    url = f"http://{prometheus.address}:{prometheus.port('prometheus', 'web')}/api/v1/targets?state=active"
    targets = [target["labels"] for target in get(url).json()["data"]["activeTargets"]]
    assert [target["node"] for target in targets if target["job"] == SERVICE] == [new.name]
    page = get(f"{gateway_url}/").body.decode()
    assert f'data-node="{new.name}" data-service="{SERVICE}"' in page
    assert f'data-node="{old.name}" data-service="{SERVICE}"' not in page
    generate = [str(ROOT / ".venv" / "bin" / "python"), "docs/generate.py"]
    environment = site.environment(moved) | {"PYTHONPATH": str(moved / "lab")}
    subprocess.run(generate, cwd=moved, env=environment, check=True)
    memory = (moved / "docs" / "reference" / "memory.md").read_text()
    sections = {section.partition("\n")[0]: section for section in memory.split("\n## ")}
    assert f"| {SERVICE} |" in sections[new.name]
    assert f"| {SERVICE} |" not in sections[old.name]


@pytest.mark.usefixtures("moved")
def test_nothing_of_it_is_left_on_the_old_node(old):
    port = old.port(SERVICE, "web")
    of_it = f"label=aicluster.service={SERVICE}"
    assert site.shell(old, f"docker ps --all --quiet --filter {of_it}") == ""
    assert site.shell(old, f"ss -Htln sport = :{port}") == ""
    assert site.shell(old, f"find /opt/aicluster -path '*{SERVICE}*'") == ""
    assert SERVICE not in site.shell(old, "cat /opt/aicluster/compose.yaml /var/lib/aicluster/state.json")
    modes = site.shell(old, "/opt/aicluster/bin/aicluster_mode.py")
    assert SERVICE not in modes and "quality" not in modes


def test_its_data_stays_until_the_leftovers_are_removed_on_purpose(moved, old):
    def listed() -> str:
        return site.shell(old, "docker volume ls -q; docker image ls --format '{{.Repository}}'")

    assert SERVICE in listed()
    # What is placed here and only down, for an hour of maintenance, is no leftover.
    site.shell(old, f"docker compose --project-directory /opt/aicluster rm --stop --force {DOWN}")
    running = site.shell(old, "docker ps -q")
    confirm = ("-e", f"confirm={site.variable(old, 'site_name')}", "-e", "leftovers=true")
    removed = site.run_playbook("playbooks/cleanup.yml", "--limit", old.address, *confirm, root=moved)
    assert removed.code == 0, removed.output
    assert SERVICE not in listed()
    assert f"aicluster_{DOWN}_state" in listed() and f"/{DOWN}" in listed(), "its data, and its image"
    assert site.shell(old, "docker ps -q") == running
