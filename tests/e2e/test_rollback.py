"""Before an image changes the data is backed up; a rollback puts back both, and later runs keep the image."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass
class Story:
    """The run that changed the images, those that put them back, the one after; what ran when."""

    again: dict[str, str]
    change: site.Run
    changed: dict[str, str]
    back: list[site.Run]
    images: dict[str, str]
    data: list[str]
    after: site.Run


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> Iterator[Story]:
    project = copy_of_the_project(tmp_path_factory.mktemp("rollback") / "project")
    again = {service: tag_again(service) for service in SERVICES}
    overrides = json.dumps(
        {"service_overrides": {service: {"image": again[service]} for service in SERVICES}}
    )
    postgres("create table rolled_back as select 1 as id, $$$$ as said")
    write("before")
    try:
        change = site.run_playbook("site.yml", *LIMIT, "-e", overrides, root=project)
        changed = images()
        write("after")
        back = [
            site.run_confirmed("playbooks/rollback.yml", "-e", f"service={service}", root=project)
            for service in SERVICES
        ]
        found = images(), data()
        after = site.run_playbook("site.yml", *LIMIT, "-e", overrides, root=project)
        yield Story(again, change, changed, back, *found, after)
    finally:
        # Without the pins, which are in the copy.
        undone = site.run_site(*LIMIT)
        postgres("drop table if exists rolled_back")
        site.shell(NODES["postgres"], "/opt/aicluster/postgres/bin/restore --drop-before")
        site.shell(NODES["alertmanager"], f"rm -f {MARK}")
    undone.succeeded()
    assert images() == IMAGES


def test_the_data_are_backed_up_before_the_images_change(story):
    said = story.change.succeeded().output
    assert story.changed == story.again
    for service, node in NODES.items():
        assert f"+ backup {service} (before its image " in said
        assert f"{node.name}: {service} -> " in said


def test_a_rollback_puts_back_image_and_data(story):
    assert [run.code for run in story.back] == [0, 0], story.back
    assert {service: image.partition("@")[0] for service, image in story.images.items()} == IMAGES
    assert story.data == ["before", "before"]


def test_the_next_run_keeps_the_image_and_warns(story):
    # A store keeps the site's files, and the pins are among them.
    assert set(re.findall(r"^\S+ +([~+-] .*)$", story.after.succeeded().output, re.MULTILINE)) <= {
        "~ file /opt/aicluster/backup_store/secrets/site (content)"
    }
    for service, node in NODES.items():
        assert f"{service} on {node.name} keeps image " in " ".join(story.after.output.split())
