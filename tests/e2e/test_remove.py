"""Cleanup removes what the toolkit made and nothing else, and site.yml makes it again."""

from collections.abc import Iterator

import pytest
import site_under_test as site
from verified import verify

BYSTANDER = "/etc/somebody-elses.conf"


@pytest.fixture
def node() -> site.Node:
    """A node whose services nobody else needs."""
    return site.running("alertmanager")[0]


@pytest.fixture
def bystanders(node: site.Node) -> Iterator[site.Node]:
    """What was on the node before: a file, a container, a volume with data."""
    image = site.shell(node, "docker ps --format '{{.Image}}' | head -n 1").strip()
    site.shell(node, f"echo mine > {BYSTANDER}")
    site.shell(node, f"docker run -d --name bystander -v bystander:/kept --entrypoint sleep {image} infinity")
    yield node
    site.shell(node, f"docker rm -f bystander; docker volume rm bystander; rm -f {BYSTANDER}")


def cleanup(node: site.Node, *more: str) -> site.Run:
    name = site.variable(node, "site_name")
    limit = ("--limit", node.address)
    return site.run_playbook("playbooks/cleanup.yml", *limit, "-e", f"confirm={name}", *more)


def test_without_the_name_of_the_site_nothing_is_removed(node):
    refused = site.run_playbook("playbooks/cleanup.yml", "--limit", node.address, "-e", "confirm=yes")
    assert refused.code != 0
    assert "Nothing was removed" in refused.output
    assert site.shell(node, "ls /opt/aicluster")


def test_what_the_toolkit_made_goes_and_what_was_there_stays(bystanders):
    node = bystanders
    volumes = set(site.shell(node, "docker volume ls -q").split())
    removed = cleanup(node, "-e", "keep_data=true")
    assert removed.code == 0, removed.output
    left = site.shell(
        node, "ls -d /opt/aicluster /var/lib/aicluster /etc/systemd/system/aicluster* 2>&1; true"
    )
    assert left.count("No such file") == 3, left
    assert site.shell(node, "docker ps --all --format '{{.Names}}'").split() == ["bystander"]
    assert site.shell(node, f"cat {BYSTANDER}") == "mine\n"
    assert set(site.shell(node, "docker volume ls -q").split()) == volumes, "keep_data keeps every volume"
    again = site.run_site("--limit", node.address)
    assert again.code == 0, again.output
    verdict = verify()
    assert verdict.ok, verdict.report["failures"]
