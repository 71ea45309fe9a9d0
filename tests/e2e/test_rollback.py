"""Before an image changes the data is backed up; a rollback puts back both, and later runs keep the image."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import site_under_test as site
from interrupted import postgres
from project_copy import copy_of_the_project

pytestmark = pytest.mark.full
# One takes its data back while it runs, the other is stopped meanwhile.
SERVICES = ("postgres", "alertmanager")
NODES = {service: site.running(service)[0] for service in SERVICES}
LIMIT = ("--limit", ",".join(node.address for node in NODES.values()))
IMAGES = {service: str(node.services[service]["image"]) for service, node in NODES.items()}
MARK = "$(docker volume inspect --format '{{.Mountpoint}}' aicluster_alertmanager_data)/mark"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def tag_again(service: str) -> str:
    """A second tag of a service's image in the lab's registry."""
    name, _, tag = IMAGES[service].rpartition(":")
    url = f"http://{site.variable(NODES[service], 'site_image_mirror')}/v2/{name}/manifests/{tag}"
    read = f"curl -fsS -H 'Accept: {MANIFEST}' {url}"
    write = f"curl -fsS -X PUT -H 'Content-Type: {MANIFEST}' --data-binary @- {url}-again"
    site.shell(NODES[service], f"{read} | {write}")
    return f"{name}:{tag}-again"


def write(text: str) -> None:
    postgres(f"update rolled_back set said = $${text}$$")
    site.shell(NODES["alertmanager"], f"echo {text} > {MARK}")


def data() -> list[str]:
    return [
        postgres("select said from rolled_back"),
        site.shell(NODES["alertmanager"], f"cat {MARK}").strip(),
    ]


def images() -> dict[str, str]:
    """The images that run, without the lab's registry."""
    asked = f"docker inspect --format '{{{{.Config.Image}}}}' $({site.COMPOSE} ps --quiet "
    said = {service: site.shell(node, f"{asked}{service})").strip() for service, node in NODES.items()}
    return {service: image.partition("/")[2] for service, image in said.items()}


@pytest.fixture
def project(tmp_path) -> Iterator[Path]:
    """A copy of the project, with which the pins go; afterwards the site is as it was."""
    postgres("create table rolled_back as select 1 as id, $$$$ as said")
    yield copy_of_the_project(tmp_path / "project")
    undone = site.run_site(*LIMIT)
    postgres("drop table if exists rolled_back")
    site.shell(NODES["postgres"], "/opt/aicluster/postgres/bin/restore --drop-before")
    site.shell(NODES["alertmanager"], f"rm -f {MARK}")
    undone.succeeded()
    assert images() == IMAGES


def test_a_rollback_puts_back_image_and_data_of_before_a_change_and_the_next_run_keeps_them(project):
    again = {service: tag_again(service) for service in SERVICES}
    overrides = json.dumps({"service_overrides": {name: {"image": image} for name, image in again.items()}})
    deploy = ("site.yml", *LIMIT, "-e", overrides)
    write("before")
    said = site.run_playbook(*deploy, root=project).succeeded().output
    assert images() == again
    for service, node in NODES.items():
        assert f"+ backup {service} (before its image " in said
        assert f"{node.name}: {service} to " in said
    write("after")
    for service in SERVICES:
        site.run_confirmed("playbooks/rollback.yml", "-e", f"service={service}", root=project).succeeded()
    assert {service: image.partition("@")[0] for service, image in images().items()} == IMAGES
    assert data() == ["before", "before"]
    said = site.run_playbook(*deploy, root=project).succeeded().output
    # A store keeps the site's files, and the pins are among them.
    assert set(re.findall(r"^\S+ +([~+-] .*)$", said, re.MULTILINE)) <= {
        "~ file /opt/aicluster/backup_store/secrets/site (content)"
    }
    for service, node in NODES.items():
        assert f"{service} on {node.name} keeps image " in " ".join(said.split())
