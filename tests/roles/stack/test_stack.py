"""A service is placed on a bare node, changed and taken off again: what the role stack does, and no more.

Run by molecule's scenario `stack` on its one node. Each test starts from the placed service.
"""

import json

import pytest
import site_under_test as site

SERVICE = "blackbox_exporter"
FOLDER = f"/opt/aicluster/{SERVICE}"
[NODE] = site.running(SERVICE)


def deploy(**variables):
    """Run the tier of the node with some variables changed."""
    return site.run_playbook("playbooks/utility.yml", "-e", json.dumps(variables)).succeeded()


def containers():
    """Name -> id of every container on the node."""
    listed = site.shell(NODE, "docker ps --all --no-trunc --format '{{.Names}} {{.ID}}'")
    return dict(line.split() for line in listed.splitlines())


@pytest.fixture
def placed():
    deploy()
    return containers()


def test_a_placed_service_is_healthy_and_nothing_else_came_with_it(placed):
    assert len(placed) == 1
    assert "failed" not in site.shell(NODE, "/opt/aicluster/bin/aicluster_verify.py")


def test_a_changed_setting_is_read_again_by_the_container_that_runs(placed):
    told = deploy(blackbox_exporter_timeout_s=7).output
    assert f"~ file {FOLDER}/config.yml (content)" in told
    assert f"~ reload container {SERVICE}" in told
    assert containers() == placed
    assert "7s" in site.shell(NODE, f"cat {FOLDER}/config.yml")


def test_what_somebody_edited_or_stopped_is_put_back(placed):
    [name] = placed
    site.shell(NODE, f"echo spoilt >> {FOLDER}/config.yml; docker stop {name}")
    deploy()
    assert "spoilt" not in site.shell(NODE, f"cat {FOLDER}/config.yml")
    assert containers() == placed, "its digest is as it was, so it is started and not made anew"
    assert site.shell(NODE, "docker ps --quiet").strip()


@pytest.mark.usefixtures("placed")
def test_a_service_taken_off_leaves_nothing_behind():
    told = deploy(node_services=[]).output
    assert f"- file {FOLDER}/compose.yaml" in told
    assert containers() == {}
    assert site.shell(NODE, f"find /opt/aicluster -path '*{SERVICE}*'") == ""
    again = deploy(node_services=[])
    assert again.changed == {NODE.address: 0}
