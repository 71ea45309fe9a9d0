"""The way back after a change of an image: what a node can go back to, and what keeps it there."""

from typing import Any

import pytest
import yaml
from ansible.template import trust_as_template
from render import cluster, hosts_running
from tables import cases

from aicluster.backup.rollback import listed, pins_for, remembered, targets, way_back
from aicluster.errors import SiteError
from aicluster.site.pins import pins_of, text_of, with_pins

NODES: Any = cluster("production")
HOSTS = [node["host"] for node in NODES]
[PI52, AGX0] = hosts_running("postgres")
[PRIMARY] = [node for node in NODES if node["host"] == PI52]
COPY = {"job": "postgres", "copy": 1, "store": "AGX0", "snapshot": "4f2a" * 4, "live": True}
CHANGE = {"image": "m:5000/postgres:17.11", "digest": "sha256:1", "to": "m:5000/postgres:17.12"}
BEFORE = remembered({"postgres": CHANGE, "redis": {**CHANGE, "digest": ""}}, {"postgres": [COPY]}, 0)


def test_a_rollback_is_of_one_node_and_a_list_of_all():
    assert targets(NODES, HOSTS, "postgres") == [PI52], "not the standby"
    assert targets(NODES, HOSTS, "redis", "PI52") == [PI52]
    assert targets(NODES, HOSTS, "") == HOSTS


def test_the_list_names_image_time_and_data():
    assert listed("PI52", BEFORE) == [
        "PI52: postgres: m:5000/postgres:17.11 until 1970-01-01 00:00 UTC, data: postgres 4f2a4f2a on AGX0",
        "PI52: redis: m:5000/postgres:17.11 until 1970-01-01 00:00 UTC, data: none",
    ]
    assert listed("PI31", {}) == ["PI31: no image has changed"]


@cases(("before", "message"), {
    "the image": ({}, "must have had another image, and the node remembers one of no service"),
    "the data": ({"postgres": {**CHANGE, "snapshots": []}}, "put back the image alone with -e data=false"),
})  # fmt: skip
def test_nothing_to_go_back_to_is_refused(before, message):
    with pytest.raises(SiteError) as refused:
        way_back(PRIMARY, "postgres", before, data=True)
    assert message in str(refused.value)


@cases(("service", "data", "snapshots"), {
    "with its data": ("postgres", True, [COPY]),
    "without its data, as asked for": ("postgres", False, []),
    "that keeps none": ("redis", True, []),
})  # fmt: skip
def test_the_way_back_of_a_service(service, data, snapshots):
    assert way_back(PRIMARY, service, BEFORE, data)["snapshots"] == snapshots


@cases(("service", "mirror", "image"), {
    "below the mirror of the site": ("postgres", "m:5000", "postgres:17.11@sha256:1"),
    "of a registry": ("postgres", "", "m:5000/postgres:17.11@sha256:1"),
    "that came from no registry": ("redis", "m:5000", "postgres:17.11"),
})  # fmt: skip
def test_the_very_image_is_kept(service, mirror, image):
    pins = pins_for(NODES, PI52, service, BEFORE[service], mirror)
    standbys = [AGX0] if service == "postgres" else []
    assert [(pin["host"], pin["image"]) for pin in pins] == [(host, image) for host in (PI52, *standbys)]


PIN = {"host": "10.0.0.1", "service": "redis", "image": f"m:5000/redis:8.10.2@sha256:{'0' * 64}"}


def test_the_file_has_one_line_for_each_service_of_a_host():
    other = {**PIN, "service": "minio"}
    pins = with_pins([{**PIN, "image": "redis:7"}, other], [{**PIN, "host": trust_as_template(PIN["host"])}])
    text = text_of(pins)
    assert yaml.safe_load(text) == {"service_pins": [PIN, other]}
    assert sum("m:5000" in line for line in text.splitlines()) == 2
    without = "".join(line for line in text.splitlines(keepends=True) if "m:5000" not in line)
    assert pins_of(yaml.safe_load(without)["service_pins"]) == {}
    assert pins_of(pins)["10.0.0.1", "redis"] == PIN["image"]


@pytest.mark.parametrize("pins", [{"a": 1}, ["redis"], [{**PIN, "image": "redis"}]])
def test_a_line_that_means_nothing_is_named_with_its_file(pins):
    with pytest.raises(SiteError, match=r"correct the line in group_vars/all/pinned\.yml, or delete it"):
        pins_of(pins)
