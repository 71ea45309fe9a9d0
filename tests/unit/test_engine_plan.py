"""The plan: from what differs on a node to what a run does there. No node takes part."""

from dataclasses import replace
from functools import reduce
from operator import getitem
from typing import Any

from inspected import conditions, container, files, inspected
from tables import cases

from aicluster.engine.declared import rules_of
from aicluster.engine.desired import Desired
from aicluster.engine.files import File
from aicluster.engine.plan import make_plan

DAEMON, UNIT = "/etc/docker/daemon.json", "/etc/systemd/system/x.service"
KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"
SETTINGS = "/opt/aicluster/kong/compose.yaml"
PROGRAMS = {"check": "kong config parse x", "reload": "kong reload", "confirm": "sh -c 'grep new'"}
CHANGE = {KONG_YML: {"change": "reload"}}
OWNERS = {"kong": "kong", "pg": "postgres"}
# A node whose one service can be reloaded.
KONG = Desired(
    containers={"kong": "d1"},
    container_owner=OWNERS,
    programs={"kong": PROGRAMS},
    rules=rules_of({"containers": {"kong": PROGRAMS}, "files": CHANGE}),
)
# What is to get another image, and whose data is kept: a service whose image a rollback put back is neither.
CHANGING = Desired(
    container_owner=OWNERS, images={"kong": "kong:2", "pg": "pg:2"}, kept=["postgres"], rules=KONG.rules
)
IMAGES = {"replaced": {name: {"image": f"{name}:1", "digest": "sha256:1"} for name in OWNERS}}
COMPOSES = files("content", SETTINGS, "/opt/aicluster/postgres/compose.yaml")
POSTGRES = Desired(containers={"pg": "d1"}, container_owner=OWNERS, provisions={"postgres": {"digest": "i1"}})
DOCKER = Desired(rules={"/etc/docker/*": {"restart": "docker"}})
NOTHING = Desired()
OWN_UNIT = Desired(rules={"/etc/systemd/system/x.*": {"restart": "x.service"}})
READ_BY_MANY = Desired(rules={"/opt/a": {"restart": ["x", "y"], "reload": "z"}})
PROVISIONED = {"provisioned": {"postgres": "i1"}}


def owed(*pairs: str) -> dict[str, Any]:
    return {"pending": [pair.split(" > ") for pair in pairs]}


def broken(package: str, *new: str) -> dict[str, Any]:
    """A package that dpkg was interrupted in, and missing ones."""
    return {"packages": [*new], "unfinished": [{"name": package, "why": "unpacked"}]}


OWED, INACTIVE = owed("reload container > kong"), {"inactive": ["kong", "pg"], "profile": "llm"}
RELOAD, RESTART = "~ reload container kong", "~ restart docker"


@cases(("wanted", "found", "lines"), {
    "a package to repair": (NOTHING, broken("jq", "jq"), ["~ package jq (unpacked)"]),
    "but before ours": (NOTHING, broken("theirs", "jq"), ["~ package theirs (unpacked)", "+ package jq"]),
    "a restart of each unit that reads a changed file": (
        READ_BY_MANY, files("content", "/opt/a") | owed("restart > y"),
        ["~ file /opt/a (content)", "~ reload z", "~ restart x", "~ restart y"]),
    "what an interrupted run owes, unless nobody owes it any more": (
        DOCKER, owed("restart > docker", "restart > gone", "reload > docker"), [RESTART]),
    "no restart of a unit whose own file goes": (
        OWN_UNIT, {"leftover": [UNIT]} | owed("restart > x.service"), [f"- file {UNIT}"]),
    "a restart of one whose file stays": (
        replace(OWN_UNIT, files=[File(UNIT, b"", "x")]), owed("restart > x.service"),
        ["~ restart x.service"]),
    "a file to reload": (KONG, files("content", KONG_YML), [f"~ file {KONG_YML} (content)", RELOAD]),
    "a reload owed": (KONG, owed("reload container > kong", "reload container > gone"), [RELOAD]),
    "no reload of a new one": (KONG, OWED | container("changed", "kong"), ["~ container kong (changed)"]),
    "a reload of an unhealthy one that runs on": (
        KONG, OWED | container("unhealthy", "kong"), [RELOAD, "~ container kong (unhealthy)"]),
    "a container that started with a file somebody had edited": (
        KONG, files("content", SETTINGS), [f"~ file {SETTINGS} (content)", "~ recreate container kong"]),
    "no reload of an inactive one": (KONG, OWED | INACTIVE, []),
    "provisioning of a new container, whatever was provisioned before": (
        POSTGRES, container("missing", "pg") | PROVISIONED, ["+ container pg", "~ provision postgres"]),
    "no provisioning of a container that only has to become healthy": (
        POSTGRES, container("starting", "pg") | PROVISIONED, ["~ container pg (starting)"]),
    "provisioning that needs another node last": (
        Desired(provisions={"access": {"digest": "i1", "last": True}, "redis": {"digest": "i2"}}), {},
        ["~ provision redis", "~ provision access"]),
    "nor of an inactive one": (POSTGRES, container("missing", "pg") | INACTIVE, ["+ container pg"]),
    "a container that runs although its profile is not active": (
        POSTGRES, {"unexpected": ["pg"]} | INACTIVE, ["~ container pg (inactive in profile llm)"]),
})  # fmt: skip
def test_the_plan_names_in_one_line(wanted, found, lines):
    plan = make_plan(wanted, inspected(**found), {})
    assert plan["lines"] == lines
    assert (plan["prepare_needed"] or plan["deploy_needed"]) == bool(lines)


@cases(("wanted", "found", "before", "backups"), {
    "images change: what has data is backed up": (
        CHANGING, IMAGES | COMPOSES, ["kong", "postgres"], ["postgres"]),
    "a rollback: it is to be found again": (
        replace(CHANGING, pinned=["postgres"]), IMAGES | COMPOSES, ["kong"], []),
    "files were in place when a run was interrupted: it did so": (CHANGING, IMAGES, [], []),
})  # fmt: skip
def test_before_images_change(wanted, found, before, backups):
    plan = make_plan(wanted, inspected(**found), {})
    assert list(plan["before"]) == before
    assert plan["backups"] == backups
    assert all(one["to"].endswith(":2") and one["image"].endswith(":1") for one in plan["before"].values())
    lines = [f"+ backup {service} (before its image pg:1 changes)" for service in backups]
    assert [line for line in plan["lines"] if "backup" in line] == lines


BOTH = Desired(rules={UNIT: {"restart": "x", "reload": "x"}})
UNITS, DOWN = "prepare.units", {"units": [{"name": "x", "why": "inactive"}]}
READ_AT_BOOT = Desired(rules={UNIT: {"restart": "x"}})
WITH_REST = replace(KONG, files=[File("/opt/aicluster/rest/kong.py", b"", "kong")])
RELOAD_OF_KONG = {
    "service": "kong", "command": "kong reload", "confirm": "sh -c 'grep new'", "files": [KONG_YML],
}  # fmt: skip
EDITED, READ_AGAIN, NEW = files("content", SETTINGS), files("content", KONG_YML), container("changed", "kong")


@cases(("wanted", "found", "part", "expected"), {
    "a wait until containers are healthy, after a restart of the engine": (
        replace(KONG, rules=DOCKER.rules), owed("restart > docker"), "deploy.wait_for_health", True),
    "systemd does not read its units again for nothing": (READ_AT_BOOT, {}, "prepare.daemon_reload", False),
    "it reads a new unit": (READ_AT_BOOT, files("missing", UNIT), "prepare.daemon_reload", True),
    "it reads what an interrupted run put there": (
        READ_AT_BOOT, owed("restart > x"), "prepare.daemon_reload", True),
    "a unit that does not run is enabled and started": (
        Desired(units=[{"name": "x"}]), DOWN, UNITS, [{"name": "x", "enabled": True, "state": "started"}]),
    "one that runs is restarted, which also reloads": (
        BOTH, files("missing", UNIT), UNITS, [{"name": "x", "state": "restarted"}]),
    "how a reload is done and confirmed, and for which files": (
        KONG, READ_AGAIN, "deploy.reloads", [RELOAD_OF_KONG]),
    "a reload is owed once files are replaced": (
        KONG, READ_AGAIN | NEW, "owed", [["reload container", "kong"]]),
    "but not done where the container is new": (KONG, READ_AGAIN | NEW, "deploy.reloads", []),
    "a container whose settings somebody edited is recreated": (KONG, EDITED, "deploy.recreate", ["kong"]),
    "not one that is new anyway": (KONG, EDITED | NEW, "deploy.recreate", []),
    "not an inactive one": (KONG, EDITED | INACTIVE, "deploy.recreate", []),
    "not one that can read the file again": (KONG, READ_AGAIN, "deploy.recreate", []),
    "one an earlier run owed it": (KONG, owed("recreate container > kong"), "deploy.recreate", ["kong"]),
    "work ends before a container is made anew": (WITH_REST, NEW, "deploy.drain", ["kong"]),
    "and before it is recreated": (WITH_REST, EDITED, "deploy.drain", ["kong"]),
    "not in one that brings no program for it": (WITH_REST, container("changed", "pg"), "deploy.drain", []),
})  # fmt: skip
def test_the_plan_has(wanted, found, part, expected):
    assert reduce(getitem, part.split("."), make_plan(wanted, inspected(**found), {})) == expected


COMPOSE, IMAGE = "/opt/aicluster/redis/compose.yaml", "redis:8.10.1"
REDIS = Desired(
    files=[File(DAEMON, b"{}", "docker_engine", merge=True), File(COMPOSE, b"services: {}", "redis")],
    units=[{"name": "docker"}, {"name": "ssh"}],
    containers={"redis": "d1"},
    container_owner={"redis": "redis"},
    rules={**DOCKER.rules, "/opt/aicluster/redis/*": {"reload": "ssh"}},
    provisions={"ssh": {"digest": "i1"}, "redis": {"digest": "i2"}},
)
TO_PULL = conditions(images={IMAGE: None})


def test_the_engine_is_brought_up_before_images_are_pulled_and_they_before_files_are_replaced():
    units = [{"name": name, "why": "inactive"} for name in ("docker", "ssh")]
    found = inspected(**files("missing", DAEMON, COMPOSE), **TO_PULL, **broken("theirs", "jq"), units=units)
    plan = make_plan(REDIS, found, {})
    parts = ("repair", "packages", "files", "reactions", "units")
    assert [plan["engine"][part] for part in parts] == [
        [], [], [DAEMON], [["restart", "docker"]],
        [{"name": "docker", "state": "restarted", "enabled": True}],
    ]  # fmt: skip
    assert [plan["prepare"][part] for part in parts] == [
        ["theirs"], ["jq"], [COMPOSE], [["reload", "ssh"]],
        [{"name": "ssh", "state": "reloaded", "enabled": True}],
    ]  # fmt: skip
    assert (plan["images"], f"+ image {IMAGE}" in plan["lines"]) == ([IMAGE], True)


UNKNOWN = ["~ images and containers (unknown until docker runs)", "~ provision ssh"]
ALL_NEW = [f"+ image {IMAGE}", "+ container redis", "~ provision ssh", "~ provision redis"]


@cases(("why", "lines"), {
    "one that is stopped": ("inactive", UNKNOWN),
    "none": ("not there, inactive", ALL_NEW),
})  # fmt: skip
def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one(why, lines):
    facts = conditions(engine={"version": "", "api": ""}, images={IMAGE: None})
    units = [{"name": "docker", "why": why}]
    plan = make_plan(REDIS, inspected(**container("missing", "redis"), **facts, units=units), {})
    assert plan["lines"] == [f"~ unit docker ({why})", *lines]
    assert (plan["images"], plan["deploy"]["containers"]) == ([IMAGE], ["redis"]), "to be looked at"
