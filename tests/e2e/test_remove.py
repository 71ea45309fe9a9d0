"""Cleanup removes what the toolkit made and nothing else, and site.yml makes it again."""

import json
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import site_under_test as site
from verified import verify

BYSTANDER = "/etc/somebody-elses.conf"
BYSTANDER_DATA = "$(docker volume inspect --format '{{.Mountpoint}}' bystander)/file"
# What somebody has in the engine's configuration beside us: a runtime, and a key the toolkit never writes.
DAEMON_FILE = "/etc/docker/daemon.json"
BYSTANDER_SETTINGS: dict[str, Any] = {"runtimes": {"bystander": {"path": "runc"}}, "shutdown-timeout": 20}
MOUNTED = "docker inspect --format '{{range .Mounts}}{{.Name}} {{end}}' bystander"
IMAGES = "docker image ls --format '{{.Repository}}:{{.Tag}}'"


@pytest.fixture
def node() -> site.Node:
    """A node whose services nobody else needs."""
    return site.running("alertmanager")[0]


def settings(node: site.Node) -> dict[str, Any]:
    """What the engine's configuration file holds."""
    return dict(json.loads(site.shell(node, f"cat {DAEMON_FILE}")))


def write_settings(node: site.Node, wanted: dict[str, Any]) -> None:
    site.shell(node, f"echo {shlex.quote(json.dumps(wanted))} > {DAEMON_FILE}")


@pytest.fixture
def bystanders(node: site.Node) -> Iterator[site.Node]:
    """What was on the node before: a file, a container, a volume with data, settings of the engine."""
    ours = settings(node)
    write_settings(node, ours | BYSTANDER_SETTINGS)
    image = site.shell(node, "docker ps --format '{{.Image}}' | head -n 1").strip()
    site.shell(node, f"echo mine > {BYSTANDER}")
    site.shell(node, f"docker run -d --name bystander -v bystander:/kept --entrypoint sleep {image} infinity")
    site.shell(node, f"echo mine > {BYSTANDER_DATA}")
    yield node
    site.shell(node, f"docker rm --force --volumes bystander; docker volume rm bystander; rm -f {BYSTANDER}")
    left = settings(node)
    write_settings(node, {key: left[key] for key in left.keys() - BYSTANDER_SETTINGS.keys()})


def cleanup(node: site.Node, *more: str) -> site.Run:
    name = site.variable(node, "site_name")
    limit = ("--limit", node.address)
    return site.run_playbook("playbooks/cleanup.yml", *limit, "-e", f"confirm={name}", *more)


def test_without_the_name_of_the_site_nothing_is_removed(node):
    refused = site.run_playbook("playbooks/cleanup.yml", "--limit", node.address, "-e", "confirm=yes")
    assert refused.code != 0
    assert "Nothing was removed" in refused.output
    assert site.shell(node, "ls /opt/aicluster")


@pytest.mark.parametrize("keep_data", [True, False], ids=["all but data", "data, too"])
def test_what_the_toolkit_made_goes_and_what_was_there_stays(bystanders, keep_data):
    node = bystanders
    volumes = set(site.shell(node, "docker volume ls -q").split())
    assert len(volumes) > 1
    kept_image = site.shell(node, "docker inspect --format '{{.Config.Image}}' bystander").strip()
    images = set(site.shell(node, IMAGES).split())
    # Its own, and what its image declares.
    theirs = set(site.shell(node, MOUNTED).split())
    removed = cleanup(node, "-e", f"keep_data={keep_data}")
    assert removed.code == 0, removed.output
    for image in images - {kept_image}:
        assert image in removed.output, "what goes is said by name"
    left = site.shell(
        node, "ls -d /opt/aicluster /var/lib/aicluster /etc/systemd/system/aicluster* 2>&1; true"
    )
    assert left.count("No such file") == 3, left
    assert site.shell(node, "docker ps --all --format '{{.Names}}'").split() == ["bystander"]
    assert site.shell(node, f"cat {BYSTANDER}") == "mine\n"
    assert settings(node) == BYSTANDER_SETTINGS
    assert site.shell(node, f"cat {BYSTANDER_DATA}") == "mine\n"
    left_volumes = set(site.shell(node, "docker volume ls -q").split())
    assert left_volumes == (volumes if keep_data else theirs)
    assert set(site.shell(node, IMAGES).split()) == {kept_image}
    again = site.run_site("--limit", node.address)
    assert again.code == 0, again.output
    assert BYSTANDER_SETTINGS.items() < settings(node).items()
    verdict = verify()
    assert verdict.ok, verdict.report["failures"]
