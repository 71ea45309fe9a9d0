"""The plan: from what differs on a node to what a run does there. No node takes part."""

from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from inspected import conditions, container, files, inspected
from render import ROLES

from aicluster.engine.declared import rules_of
from aicluster.engine.desired import Desired
from aicluster.engine.files import File
from aicluster.engine.plan import checks_for, make_plan, unit_states

KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"
PAGE = "/opt/aicluster/kong/page.html"
SETTINGS = "/opt/aicluster/kong/compose.yaml"
KONG_STATE: dict[str, Any] = {
    "containers": {
        "kong": {"check": "kong config parse x", "reload": "kong reload", "confirm": "sh -c 'grep new'"}
    },
    "files": {KONG_YML: {"change": "reload"}, "/opt/aicluster/kong/*.html": {"change": "none"}},
}
# A node whose one service can be reloaded.
KONG = Desired(
    containers={"kong": "d1"},
    container_owner={"kong": "kong"},
    programs=KONG_STATE["containers"],
    rules=rules_of(KONG_STATE),
)
RELOAD_OWED = {"pending": [["reload container", "kong"]]}
POSTGRES = Desired(
    containers={"pg": "d1"}, container_owner={"pg": "postgres"}, provision_inputs={"postgres": "i1"}
)
DAEMON = "/etc/docker/daemon.json"
DOCKER_RULES = {"/etc/docker/*": {"restart": "docker"}}
DOCKER = Desired(rules=DOCKER_RULES)


PLANS = [
    pytest.param(Desired(), {}, [], id="a node that is as it should be has an empty plan"),
    pytest.param(Desired(), {"packages": ["jq"]}, ["+ package jq"], id="a missing package is created"),
    pytest.param(
        Desired(),
        {"packages": ["jq", "curl"], "unfinished": [{"name": "jq", "why": "half-configured"}]},
        ["~ package jq (half-configured)", "+ package curl"],
        id="a package that dpkg was interrupted in is repaired",
    ),
    pytest.param(
        Desired(),
        {"unfinished": [{"name": "theirs", "why": "half-configured"}]},
        [],
        id="a broken package of others alone is no work",
    ),
    pytest.param(
        Desired(),
        {"packages": ["jq"], "unfinished": [{"name": "theirs", "why": "half-configured"}]},
        ["~ package theirs (half-configured)", "+ package jq"],
        id="a broken package of others is repaired before one of ours is installed",
    ),
    pytest.param(Desired(), files("missing", "/etc/a"), ["+ file /etc/a"], id="a missing file is created"),
    pytest.param(
        Desired(rules={"/opt/a.py": {"restart": ["x", "y"], "reload": "z"}}),
        {**files("content", "/opt/a.py"), "pending": [["restart", "y"]]},
        ["~ file /opt/a.py (content)", "~ reload z", "~ restart x", "~ restart y"],
        id="a file that several units read restarts each of them",
    ),
    pytest.param(
        DOCKER,
        {"leftover": [DAEMON]},
        [f"- file {DAEMON}", "~ restart docker"],
        id="a file that no longer belongs is removed and its reader restarted",
    ),
    pytest.param(
        DOCKER,
        {"pending": [["restart", "docker"], ["restart", "gone"], ["reload", "docker"]]},
        ["~ restart docker"],
        id="a reaction an interrupted run still owes is made up for, unless nobody owes it any more",
    ),
    pytest.param(
        KONG,
        files("content", KONG_YML),
        [f"~ file {KONG_YML} (content)", "~ reload container kong"],
        id="a file that a running container can read again reloads it",
    ),
    pytest.param(
        KONG,
        {"leftover": [KONG_YML]},
        [f"- file {KONG_YML}", "~ reload container kong"],
        id="and so does one that no longer belongs",
    ),
    pytest.param(
        KONG,
        files("content", PAGE),
        [f"~ file {PAGE} (content)"],
        id="a file that is read for each request calls for nothing",
    ),
    pytest.param(
        KONG,
        {"pending": [["reload container", "kong"], ["reload container", "gone"]]},
        ["~ reload container kong"],
        id="a reload an interrupted run still owes is made up for",
    ),
    pytest.param(
        KONG,
        {**RELOAD_OWED, **container("changed", "kong")},
        ["~ container kong (changed)"],
        id="a container that is recreated needs no reload",
    ),
    pytest.param(
        KONG,
        {**RELOAD_OWED, **container("unhealthy", "kong")},
        ["~ reload container kong", "~ container kong (unhealthy)"],
        id="an unhealthy one that runs on does",
    ),
    pytest.param(
        KONG,
        {**RELOAD_OWED, "inactive": ["kong"], "mode": "llm"},
        [],
        id="an inactive one reads its files when it starts",
    ),
    pytest.param(
        KONG,
        {**container("changed", "kong"), "orphans": ["old"]},
        ["~ container kong (changed)", "- container old"],
        id="a container of another digest is recreated and an orphan removed",
    ),
    pytest.param(
        POSTGRES,
        {**container("missing", "pg"), "provisioned": {"postgres": "i1"}},
        ["+ container pg", "~ provision postgres"],
        id="a new container is provisioned whatever was provisioned before",
    ),
    pytest.param(
        POSTGRES,
        {"provisioned": {"postgres": "i0"}},
        ["~ provision postgres"],
        id="changed inputs are provisioned without touching the container",
    ),
    pytest.param(
        POSTGRES,
        {**container("starting", "pg"), "provisioned": {"postgres": "i1"}},
        ["~ container pg (starting)"],
        id="a container that only has to become healthy is not provisioned again",
    ),
    pytest.param(
        POSTGRES,
        {**container("missing", "pg"), "inactive": ["pg"], "mode": "llm"},
        ["+ container pg"],
        id="a service of another mode is not provisioned before it starts",
    ),
    pytest.param(
        POSTGRES,
        {"inactive": ["pg"], "unexpected": ["pg"], "mode": "llm"},
        ["~ container pg (inactive in mode llm)"],
        id="a container of another mode that runs is stopped",
    ),
]


@pytest.mark.parametrize(("wanted", "found", "lines"), PLANS)
def test_the_plan_names_every_difference_in_one_line(wanted, found, lines):
    plan = make_plan(wanted, inspected(**found), {})
    assert plan["lines"] == lines
    assert (plan["prepare_needed"] or plan["deploy_needed"]) == bool(lines)


def test_a_container_of_another_mode_is_created_without_being_started():
    plan = make_plan(POSTGRES, inspected(**container("missing", "pg"), inactive=["pg"], mode="llm"), {})
    assert (plan["deploy"]["create_only"], plan["inactive"]) == (["pg"], ["postgres"])


@pytest.mark.parametrize("finds", [True, False])
def test_a_probe_that_finds_something_missing_calls_for_provisioning(finds):
    found = inspected(provisioned={"postgres": "i1"})
    assert make_plan(POSTGRES, found, {"postgres": finds})["deploy"]["provision"] == ["postgres"] * finds


def test_what_needs_another_node_is_provisioned_last():
    wanted = Desired(
        provision_inputs={"control_access": "i1", "postgres": "i2"}, provision_last={"control_access"}
    )
    assert make_plan(wanted, inspected(), {})["deploy"]["provision"] == ["postgres", "control_access"]


@pytest.mark.parametrize(("containers", "waits"), [({"kong": "d1"}, True), ({}, False)])
def test_after_a_restart_of_the_engine_a_run_waits_until_its_containers_are_healthy(containers, waits):
    wanted = Desired(containers=containers, container_owner={"kong": "kong"}, rules=DOCKER_RULES)
    plan = make_plan(wanted, inspected(pending=[["restart", "docker"]]), {})
    assert plan["deploy"]["wait_for_health"] is plan["deploy_needed"] is waits


UNIT = "/etc/systemd/system/x.service"


@pytest.mark.parametrize(
    ("found", "reads"),
    [
        pytest.param({}, False, id="nothing changed"),
        pytest.param(files("missing", UNIT), True, id="a unit is new"),
        pytest.param({"pending": [["restart", "x"]]}, True, id="a run ended before systemd read a unit"),
    ],
)
def test_systemd_reads_its_units_again_where(found, reads):
    wanted = Desired(rules={UNIT: {"restart": "x"}})
    assert make_plan(wanted, inspected(**found), {})["prepare"]["daemon_reload"] is reads


@pytest.mark.parametrize(
    ("wanted", "reactions", "asked"),
    [
        pytest.param(
            {"name": "a"}, [], {"name": "a", "enabled": True, "state": "started"}, id="it does not run"
        ),
        pytest.param(
            {"name": "a", "enabled": False},
            [],
            {"name": "a", "enabled": False, "state": "started"},
            id="it is started by others",
        ),
        pytest.param(
            {"name": "a", "boot": True}, [], {"name": "a", "enabled": True}, id="it works at boot only"
        ),
        pytest.param(
            {"name": "a"},
            [("restart", "a")],
            {"name": "a", "enabled": True, "state": "restarted"},
            id="it reads a file that changed: one call does both",
        ),
        pytest.param(
            {"name": "other"},
            [("restart", "a"), ("reload", "a")],
            {"name": "a", "state": "restarted"},
            id="it runs, and a restart also reloads",
        ),
    ],
)
def test_systemd_is_asked_once_for_all_that_a_unit_needs(wanted, reactions, asked):
    assert unit_states([wanted], {"a"}, reactions) == [asked]


# --- what a change means for a container ---


def test_a_reload_says_how_it_is_done_how_it_is_confirmed_and_for_which_files():
    plan = make_plan(KONG, inspected(**files("content", KONG_YML)), {})
    assert plan["deploy"]["reloads"] == [
        {"service": "kong", "command": "kong reload", "confirm": "sh -c 'grep new'", "files": [KONG_YML]}
    ]
    assert plan["prepare"]["reactions"] == [], "units have nothing to do with it"


def test_a_reload_is_owed_once_files_are_replaced_though_its_container_is_recreated_in_the_same_run():
    found = inspected(**files("content", KONG_YML), **container("changed", "kong"))
    plan = make_plan(KONG, found, {})
    assert (plan["owed"], plan["deploy"]["reloads"]) == ([["reload container", "kong"]], [])


@pytest.mark.parametrize(
    ("found", "recreated"),
    [
        pytest.param(files("content", SETTINGS), ["kong"], id="one whose settings somebody edited"),
        pytest.param(
            files("content", SETTINGS) | container("changed", "kong"), [], id="not one that is new anyway"
        ),
        pytest.param(files("content", SETTINGS) | {"inactive": ["kong"]}, [], id="not an inactive one"),
        pytest.param(files("content", KONG_YML), [], id="not one that can read the file again"),
        pytest.param(
            {"pending": [["recreate container", "kong"]]}, ["kong"], id="one an earlier run owed it"
        ),
    ],
)
def test_a_container_that_started_with_an_edited_file_is_recreated(found, recreated):
    plan = make_plan(KONG, inspected(**found), {})
    assert plan["deploy"]["recreate"] == recreated
    assert plan["deploy_needed"] is bool(recreated or found.get("containers") or plan["deploy"]["reloads"])
    assert [line for line in plan["lines"] if "recreate" in line] == [
        f"~ recreate container {name}" for name in recreated
    ]


@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        pytest.param([KONG_YML], [KONG_YML], id="a file it reads"),
        pytest.param([SETTINGS], [SETTINGS], id="its settings"),
        pytest.param([PAGE], None, id="a file it never parses"),
        pytest.param(["/opt/aicluster/nginx/nginx.conf", "/etc/kong"], None, id="files of others"),
    ],
)
def test_the_program_that_will_read_a_file_checks_it_before_it_is_replaced(paths, asked):
    checks = checks_for(KONG, paths)
    assert checks == ({"kong": {"command": "kong config parse x", "files": asked}} if asked else {})


# --- what comes before the services ---

COMPOSE = "/opt/aicluster/redis/compose.yaml"
IMAGE = "redis:8.10.1"
REDIS = Desired(
    files=[File(DAEMON, b"{}", "docker_engine", merge=True), File(COMPOSE, b"services: {}", "redis")],
    units=[{"name": "docker"}, {"name": "ssh"}],
    containers={"redis": "d1"},
    container_owner={"redis": "redis"},
    rules={**DOCKER_RULES, "/opt/aicluster/redis/*": {"reload": "ssh"}},
    provision_inputs={"ssh": "i1", "redis": "i2"},
)
PROVISIONED = {"provisioned": REDIS.provision_inputs}


def test_the_engine_is_brought_up_before_images_are_pulled_and_they_before_files_are_replaced():
    found = inspected(
        **files("missing", DAEMON, COMPOSE),
        **conditions(images={IMAGE: None}),
        **PROVISIONED,
        packages=["jq"],
        unfinished=[{"name": "theirs", "why": "unpacked"}],
        units=[{"name": "docker", "why": "inactive"}, {"name": "ssh", "why": "inactive"}],
    )
    plan = make_plan(REDIS, found, {})
    nothing = {"remove": [], "daemon_reload": False}
    assert plan["engine"] == {
        **nothing,
        "repair": [],
        "packages": [],
        "files": [DAEMON],
        "reactions": [["restart", "docker"]],
        "units": [{"name": "docker", "state": "restarted", "enabled": True}],
    }
    assert plan["prepare"] == {
        **nothing,
        "repair": ["theirs"],
        "packages": ["jq"],
        "files": [COMPOSE],
        "reactions": [["reload", "ssh"]],
        "units": [{"name": "ssh", "state": "reloaded", "enabled": True}],
    }
    assert (plan["images"], f"+ image {IMAGE}" in plan["lines"]) == ([IMAGE], True)


def test_without_an_image_to_pull_everything_is_prepared_at_once():
    plan = make_plan(REDIS, inspected(**files("missing", DAEMON, COMPOSE), **PROVISIONED), {})
    assert plan["prepare"]["files"] == [DAEMON, COMPOSE]
    assert plan["prepare"]["reactions"] == [["reload", "ssh"], ["restart", "docker"]]
    assert not any(plan["engine"].values())


def test_an_image_to_pull_is_work_though_no_file_differs():
    plan = make_plan(REDIS, inspected(**conditions(images={IMAGE: None}), **PROVISIONED), {})
    assert plan["prepare_needed"] is True


@pytest.mark.parametrize(
    ("why", "lines"),
    [
        pytest.param(
            "inactive",
            [
                "~ unit docker (inactive)",
                "~ images and containers (unknown until docker runs)",
                "~ provision ssh",
            ],
            id="one that is stopped",
        ),
        pytest.param(
            "not there, inactive",
            [
                "~ unit docker (not there, inactive)",
                f"+ image {IMAGE}",
                "+ container redis",
                "~ provision ssh",
                "~ provision redis",
            ],
            id="none",
        ),
    ],
)
def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one(why, lines):
    found = inspected(
        **container("missing", "redis"),
        **conditions(engine={"version": "", "api": ""}, images={IMAGE: None}),
        units=[{"name": "docker", "why": why}],
    )
    plan = make_plan(REDIS, found, {})
    assert plan["lines"] == lines
    assert (plan["images"], plan["deploy"]["containers"]) == ([IMAGE], ["redis"]), "to be looked at"


# --- packages ---

PACKAGES: list[dict[str, Any]] = yaml.safe_load((ROLES / "stack/tasks/packages.yml").read_text())


@pytest.mark.parametrize(
    ("repair", "state", "keeps"),
    [
        pytest.param([], "present", False, id="packages are whole, and others may give way to ours"),
        pytest.param(["theirs"], "fixed", True, id="one is broken, whoever owns it"),
    ],
)
def test_apt_is_given_our_packages_alone_and_repairs_without_removing(repair, state, keeps):
    [apt] = [task["ansible.builtin.apt"] for task in PACKAGES[-1]["block"] if "ansible.builtin.apt" in task]
    plan = {"prepare": {"repair": repair, "packages": ["jq"]}}
    templar = Templar(loader=DataLoader(), variables={"__stack_plan": plan})
    asked = [templar.template(trust_as_template(apt[key])) for key in ("name", "state", "fail_on_autoremove")]
    assert asked == [["jq"], state, keeps]


def test_what_dpkg_says_is_read_in_english():
    ours = [task for task in (*PACKAGES, *PACKAGES[-1]["rescue"]) if "ansible.builtin.command" in task]
    assert [task["environment"]["LC_ALL"] for task in ours] == ["C", "C"]
