"""The controller's half of the engine: desired state in, plan out. No node takes part."""

import base64
import io
import itertools
import multiprocessing
import os
import re
import subprocess
import sys
import tarfile
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible.template import Templar, trust_as_template
from by_path import import_file
from hypothesis import given
from hypothesis import strategies as st
from render import ROLES, cluster, hosts_running, renderer

from aicluster.preflight.node import node_complaints

# The node's half has the same module name, as Ansible wants it; load this one by its path.
engine = import_file("action_plugins/stack_node.py", "stack_node_action")
File, Desired = engine.File, engine.Desired

NOTHING_DIFFERS: dict[str, Any] = {
    "facts": {"os": "debian"},
    "differing": [],
    "leftover": [],
    "packages": [],
    "unfinished": [],
    "units": [],
    "containers": [],
    "orphans": [],
    "mode": None,
    "asleep": [],
    "restless": [],
    "pending": [],
    "provisioned": {},
    "probes": {},
    "obstacles": {"engine": {"version": "26.1.5", "api": "1.45"}, "volumes": [], "images": {}},
}


def actual(**changes):
    return {**NOTHING_DIFFERS, **changes}


def desired(**changes):
    return Desired(**changes)


KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"
KONG_STATE: dict[str, Any] = {
    "containers": {
        "kong": {"check": "kong config parse x", "reload": "kong reload", "confirm": "sh -c 'grep new'"}
    },
    "files": {KONG_YML: {"change": "reload"}, "/opt/aicluster/kong/*.html": {"change": "none"}},
}


def kong(**changes):
    """A node whose one service can be reloaded."""
    return desired(
        containers={"kong": "d1"},
        container_owner={"kong": "kong"},
        programs=KONG_STATE["containers"],
        rules=engine.rules_of(KONG_STATE),
        **changes,
    )


PLANS = [
    pytest.param(desired(), actual(), [], id="a node that is as it should be has an empty plan"),
    pytest.param(desired(), actual(packages=["jq"]), ["+ package jq"], id="a missing package is created"),
    pytest.param(
        desired(),
        actual(packages=["jq", "curl"], unfinished=[{"name": "jq", "why": "half-configured"}]),
        ["~ package jq (half-configured)", "+ package curl"],
        id="a package that dpkg was cut off in is repaired",
    ),
    pytest.param(
        desired(),
        actual(unfinished=[{"name": "theirs", "why": "half-configured"}]),
        [],
        id="a broken package of others alone is no work",
    ),
    pytest.param(
        desired(),
        actual(packages=["jq"], unfinished=[{"name": "theirs", "why": "half-configured"}]),
        ["~ package theirs (half-configured)", "+ package jq"],
        id="a broken package of others is mended before one of ours is installed",
    ),
    pytest.param(
        desired(),
        actual(differing=[{"path": "/etc/a", "reason": "missing", "before": ""}]),
        ["+ file /etc/a"],
        id="a missing file is created",
    ),
    pytest.param(
        desired(rules={"/opt/a.py": {"restart": ["x", "y"], "reload": "z"}}),
        actual(
            differing=[{"path": "/opt/a.py", "reason": "content", "before": ""}], pending=[["restart", "y"]]
        ),
        ["~ file /opt/a.py (content)", "~ reload z", "~ restart x", "~ restart y"],
        id="a file that several units read restarts each of them",
    ),
    pytest.param(
        desired(rules={"/etc/docker/*": {"restart": "docker"}}),
        actual(differing=[{"path": "/etc/docker/daemon.json", "reason": "content", "before": "{}"}]),
        ["~ file /etc/docker/daemon.json (content)", "~ restart docker"],
        id="a changed file restarts the unit that reads it",
    ),
    pytest.param(
        desired(rules={"/etc/docker/*": {"restart": "docker"}}),
        actual(leftover=["/etc/docker/daemon.json"]),
        ["- file /etc/docker/daemon.json", "~ restart docker"],
        id="a file that no longer belongs is removed and its reader restarted",
    ),
    pytest.param(
        desired(rules={"/etc/docker/*": {"restart": "docker"}}),
        actual(pending=[["restart", "docker"], ["restart", "gone"], ["reload", "docker"]]),
        ["~ restart docker"],
        id="a reaction an interrupted run still owes is made up for, unless nobody owes it any more",
    ),
    pytest.param(
        kong(),
        actual(differing=[{"path": KONG_YML, "reason": "content", "before": ""}]),
        [f"~ file {KONG_YML} (content)", "~ reload container kong"],
        id="a file that a running container can read again reloads it",
    ),
    pytest.param(
        kong(),
        actual(leftover=[KONG_YML]),
        [f"- file {KONG_YML}", "~ reload container kong"],
        id="and so does one that no longer belongs",
    ),
    pytest.param(
        kong(),
        actual(differing=[{"path": "/opt/aicluster/kong/page.html", "reason": "content", "before": ""}]),
        ["~ file /opt/aicluster/kong/page.html (content)"],
        id="a file that is read for each request calls for nothing",
    ),
    pytest.param(
        kong(),
        actual(pending=[["reload container", "kong"], ["reload container", "gone"]]),
        ["~ reload container kong"],
        id="a reload an interrupted run still owes is made up for",
    ),
    pytest.param(
        kong(),
        actual(pending=[["reload container", "kong"]], containers=[{"service": "kong", "why": "changed"}]),
        ["~ container kong (changed)"],
        id="a container that is recreated needs no reload",
    ),
    pytest.param(
        kong(),
        actual(pending=[["reload container", "kong"]], containers=[{"service": "kong", "why": "unhealthy"}]),
        ["~ reload container kong", "~ container kong (unhealthy)"],
        id="one that runs on and is not well does",
    ),
    pytest.param(
        kong(),
        actual(pending=[["reload container", "kong"]], asleep=["kong"], mode="llm"),
        [],
        id="one that sleeps reads its files when it wakes",
    ),
    pytest.param(
        desired(containers={"kong": "d1"}, container_owner={"kong": "kong"}),
        actual(containers=[{"service": "kong", "why": "changed"}], orphans=["old"]),
        ["~ container kong (changed)", "- container old"],
        id="a container of another digest is recreated and an orphan removed",
    ),
    pytest.param(
        desired(
            containers={"pg": "d1"}, container_owner={"pg": "postgres"}, provision_inputs={"postgres": "i1"}
        ),
        actual(containers=[{"service": "pg", "why": "missing"}], provisioned={"postgres": "i1"}),
        ["+ container pg", "~ provision postgres"],
        id="a new container is provisioned whatever was provisioned before",
    ),
    pytest.param(
        desired(provision_inputs={"postgres": "i2"}),
        actual(provisioned={"postgres": "i1"}),
        ["~ provision postgres"],
        id="changed inputs are provisioned without touching the container",
    ),
]


@pytest.mark.parametrize(("wanted", "found", "lines"), PLANS)
def test_the_plan_names_every_difference_in_one_line(wanted, found, lines):
    plan = engine.make_plan(wanted, found, {})
    assert plan["lines"] == lines
    assert (plan["lay_needed"] or plan["raise_needed"]) == bool(lines)


def test_a_probe_that_finds_something_missing_calls_for_provisioning():
    wanted = desired(provision_inputs={"ollama": "i1"})
    found = actual(provisioned={"ollama": "i1"})
    assert engine.make_plan(wanted, found, {"ollama": True})["raise"]["provision"] == ["ollama"]
    assert engine.make_plan(wanted, found, {"ollama": False})["raise"]["provision"] == []


def test_what_needs_another_node_is_provisioned_after_all_else():
    wanted = desired(
        provision_inputs={"control_access": "i1", "postgres": "i2"}, provision_last={"control_access"}
    )
    assert engine.make_plan(wanted, actual(), {})["raise"]["provision"] == ["postgres", "control_access"]


def test_a_restart_of_the_engine_waits_until_its_containers_are_well_again():
    rules = {"/etc/docker/*": {"restart": "docker"}}
    wanted = desired(containers={"kong": "d1"}, container_owner={"kong": "kong"}, rules=rules)
    owed = actual(pending=[["restart", "docker"]])
    assert engine.make_plan(wanted, owed, {})["raise_needed"] is True
    assert engine.make_plan(desired(rules=rules), owed, {})["raise_needed"] is False


def test_a_run_that_ended_before_systemd_read_a_unit_is_made_up_for():
    wanted = desired(rules={"/etc/systemd/system/x.service": {"restart": "x"}})
    assert engine.make_plan(wanted, actual(pending=[["restart", "x"]]), {})["lay"]["daemon_reload"] is True
    assert engine.make_plan(wanted, actual(), {})["lay"]["daemon_reload"] is False


def test_a_container_that_only_has_to_become_well_is_not_provisioned_again():
    wanted = desired(
        containers={"pg": "d1"}, container_owner={"pg": "postgres"}, provision_inputs={"postgres": "i1"}
    )
    found = actual(containers=[{"service": "pg", "why": "starting"}], provisioned={"postgres": "i1"})
    assert engine.make_plan(wanted, found, {})["raise"]["provision"] == []


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
            id="it is well, and a restart also reloads",
        ),
    ],
)
def test_systemd_is_asked_once_for_all_that_a_unit_needs(wanted, reactions, asked):
    assert engine.unit_states([wanted], {"a"}, reactions) == [asked]


def test_a_new_unit_file_makes_systemd_read_its_units_again():
    found = actual(differing=[{"path": "/etc/systemd/system/x.service", "reason": "missing", "before": ""}])
    assert engine.make_plan(desired(), found, {})["lay"]["daemon_reload"] is True


# ---------------------------------------------------------------- what a change means for a container


def test_a_reload_says_how_how_to_see_it_and_for_which_files():
    plan = engine.make_plan(
        kong(), actual(differing=[{"path": KONG_YML, "reason": "content", "before": ""}]), {}
    )
    [reload] = plan["raise"]["reloads"]
    assert reload == {
        "service": "kong",
        "command": "kong reload",
        "confirm": "sh -c 'grep new'",
        "files": [KONG_YML],
    }
    assert plan["lay"]["reactions"] == [], "units have nothing to do with it"


def test_a_reload_is_owed_from_the_moment_files_move_though_its_container_is_recreated_in_the_same_run():
    found = actual(
        differing=[{"path": KONG_YML, "reason": "content", "before": ""}],
        containers=[{"service": "kong", "why": "changed"}],
    )
    plan = engine.make_plan(kong(), found, {})
    assert (plan["owed"], plan["raise"]["reloads"]) == ([["reload container", "kong"]], [])


SETTINGS = "/opt/aicluster/kong/compose.yaml"


@pytest.mark.parametrize(
    ("found", "recreated"),
    [
        pytest.param({"differing": [SETTINGS]}, ["kong"], id="one whose settings somebody edited"),
        pytest.param(
            {"differing": [SETTINGS], "containers": [{"service": "kong", "why": "changed"}]},
            [],
            id="not one that is made anew anyway",
        ),
        pytest.param({"differing": [SETTINGS], "asleep": ["kong"]}, [], id="not one that sleeps"),
        pytest.param({"differing": [KONG_YML]}, [], id="not one that can read the file again"),
        pytest.param(
            {"pending": [["recreate container", "kong"]]}, ["kong"], id="one an earlier run owed it"
        ),
    ],
)
def test_a_container_that_started_with_an_edited_file_is_made_anew(found, recreated):
    differing = [{"path": path, "reason": "content", "before": ""} for path in found.get("differing", [])]
    plan = engine.make_plan(kong(), actual(**{**found, "differing": differing}), {})
    assert plan["raise"]["recreate"] == recreated
    assert plan["raise_needed"] is bool(recreated or found.get("containers") or plan["raise"]["reloads"])
    assert [line for line in plan["lines"] if "recreate" in line] == [
        f"~ recreate container {c}" for c in recreated
    ]


@pytest.mark.parametrize(
    ("paths", "asked"),
    [
        pytest.param([KONG_YML], [KONG_YML], id="a file it reads"),
        pytest.param(
            ["/opt/aicluster/kong/compose.yaml"], ["/opt/aicluster/kong/compose.yaml"], id="its settings"
        ),
        pytest.param(["/opt/aicluster/kong/page.html"], None, id="a file it never parses"),
        pytest.param(["/opt/aicluster/nginx/nginx.conf", "/etc/kong"], None, id="files of others"),
    ],
)
def test_the_program_that_will_read_a_file_is_asked_before_it_is_replaced(paths, asked):
    checks = engine.checks_for(kong(), paths)
    assert checks == ({"kong": {"command": "kong config parse x", "files": asked}} if asked else {})


@pytest.mark.parametrize(
    ("state", "message"),
    [
        pytest.param(
            {"file": {}}, "__x_state has the unknown key file; allowed: .*; did you mean files?", id="a part"
        ),
        pytest.param(
            {"files": {"/a": {"restrat": "docker"}}},
            "__x_state.files, /a, has the unknown key restrat; allowed: .*; did you mean restart?",
            id="a reaction of a file",
        ),
        pytest.param(
            {"files": {"/a": {"mod": "0600"}}},
            "__x_state.files, /a, has the unknown key mod; allowed: .*; did you mean mode?",
            id="the mode of a file",
        ),
        pytest.param(
            {"files": {"/a": {"mode": 0o600}}},
            '__x_state.files, /a, has mode 384: must be four octal digits in quotes, as "0600"',
            id="a mode without quotes",
        ),
        pytest.param(
            {"files": {"/a": {"change": "relaod"}}},
            "__x_state.files, /a, has change 'relaod': must be recreate or reload or none",
            id="what a change means",
        ),
        pytest.param(
            {"files": {"/a": {"merge": "yaml"}}}, "/a, has merge 'yaml': must be json", id="a way to merge"
        ),
        pytest.param(
            {"files": {"/a": {"change": "reload"}}},
            "/a, has change reload, but no container has a reload",
            id="a reload nobody carries out",
        ),
        pytest.param(
            {"units": [{"name": "ssh", "enabeld": True}]},
            "__x_state.units, ssh, has the unknown key enabeld; allowed: .*; did you mean enabled?",
            id="a key of a unit",
        ),
        pytest.param(
            {"probe": {"uri": "http://x"}},
            "__x_state.probe has the unknown key uri; allowed: file, url; did you mean url?",
            id="a key of a probe",
        ),
        pytest.param(
            {"containers": {"c": {"cheque": "true"}}},
            "__x_state.containers, c, has the unknown key cheque; allowed: check, confirm, reload",
            id="a key of a container",
        ),
        pytest.param(
            {"containers": {"c": {"reload": "true"}}},
            "__x_state.containers, c, must have reload and confirm, or none",
            id="a reload nobody confirms",
        ),
    ],
)
def test_what_a_role_says_and_nobody_would_hear_is_refused_with_what_was_probably_meant(state, message):
    pattern = "^role x: " + re.sub(r"([?(){}])", r"\\\1", message) + "$"
    with pytest.raises(engine.AnsibleActionFail, match=pattern if "__x_state" in message else message):
        engine.check_state("x", state)


def test_what_every_role_says_is_heard():
    for inventory in ("production", "lab"):
        for node in cluster(inventory):
            engine.desired_state(renderer(inventory, node["host"]), ROLES)


def test_a_container_that_the_role_does_not_have_is_refused(monkeypatch):
    rendering = renderer("production", hosts_running("redis")[0])
    state = rendering.state
    wrong = {"containers": {"rediss": {"check": "true"}}}
    monkeypatch.setattr(
        rendering,
        "state",
        lambda role, variables: (wrong, "") if role == "redis" else state(role, variables),
    )
    with pytest.raises(
        engine.AnsibleActionFail, match=r"role redis: .* unknown key rediss; .*; did you mean redis\?"
    ):
        engine.desired_state(rendering, ROLES)


def test_what_a_checker_quotes_of_a_secret_is_not_shown():
    secrets = {"a": "hunter", "b": "hunter-and-more", "c": "", "d": 5432}
    assert (
        engine.masked("key hunter-and-more, hunter, port 5432", secrets)
        == "key ********, ********, port ********"
    )


# ---------------------------------------------------------------- digests

paths = st.sampled_from(["/opt/aicluster/kong/a", "/opt/aicluster/kong/b", "/opt/aicluster/nginx/a"])
files = st.builds(File, paths, st.binary(max_size=20), st.just("role"), st.sampled_from(["0644", "0400"]))


@given(st.lists(files, unique_by=lambda f: f.path), st.randoms())
def test_the_digest_does_not_depend_on_the_order_of_files(some, random):
    shuffled = list(some)
    random.shuffle(shuffled)
    assert engine.digest_of(some) == engine.digest_of(shuffled)


@given(files, files)
def test_two_files_have_one_digest_exactly_when_path_mode_and_content_are_the_same(one, other):
    assert (engine.digest_of([one]) == engine.digest_of([other])) == (one == other)


def test_the_owner_of_a_file_is_part_of_the_digest():
    file = File("/opt/aicluster/kong/secrets/a", b"x", "kong", "0400", 0, 0)
    assert engine.digest_of([file]) != engine.digest_of([engine.replace(file, uid=999, gid=999)])


def test_sealing_writes_the_digest_of_the_services_own_files_only():
    compose = File("/opt/aicluster/kong/compose.yaml", b"label: @stack-digest@", "kong")
    host_file = File("/etc/sysctl.d/kong.conf", b"a = 1", "kong")
    sealed, digest = engine.seal([compose, host_file], "kong")
    assert sealed[0].content == f"label: {digest}".encode()
    _, without_host_file = engine.seal([compose], "kong")
    assert digest == without_host_file


@pytest.mark.parametrize("change", ["reload", "none"])
def test_a_file_that_a_running_container_reads_again_is_no_part_of_what_recreates_it(change):
    compose = File("/opt/aicluster/kong/compose.yaml", b"label: @stack-digest@", "kong")
    other = [File(KONG_YML, content, "kong", change=change) for content in (b"a", b"b")]
    assert engine.seal([compose, other[0]], "kong")[1] == engine.seal([compose, other[1]], "kong")[1]


def test_a_file_can_say_which_files_were_loaded_together_with_it():
    says = File("/opt/aicluster/kong/says", b"@stack-reload-digest@", "kong", change="reload")
    loaded = {
        engine.seal([says, File(KONG_YML, content, "kong", change=change)], "kong")[0][0].content
        for content in (b"a", b"b")
        for change in ("reload", "none")
    }
    assert len(loaded) == 3, "one for each content that is loaded, and one for both that are not"


# ---------------------------------------------------------------- what leaves the controller


def test_the_archive_keeps_owner_and_mode():
    file = File("/opt/aicluster/kong/secrets/kong.yml", b"key", "kong", "0400", 1001, 1001)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(engine.pack([file])))) as tar:
        member = tar.getmembers()[0]
    assert (member.name, member.mode, member.uid) == ("opt/aicluster/kong/secrets/kong.yml", 0o400, 1001)


def test_a_secret_is_never_part_of_a_diff():
    secret = File("/opt/aicluster/kong/secrets/kong.yml", b"hunter2", "kong")
    diffs = engine.file_diffs([secret], [{"path": secret.path, "reason": "content", "before": ""}])
    assert "hunter2" not in str(diffs)
    assert secret.path in diffs[0]["prepared"]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        pytest.param(
            {"path": "/etc/a", "reason": "content", "before": None},
            "/etc/a: content changes and is not shown",
            id="content too long to be shown",
        ),
        pytest.param(
            {"path": "/etc/a", "reason": "owner or mode 0666 0:0", "before": None},
            "/etc/a: owner or mode 0666 0:0 -> 0644 0:0",
            id="a mode",
        ),
    ],
)
def test_a_diff_without_text_says_what_changes(item, said):
    assert engine.file_diffs([File("/etc/a", b"x", "base")], [item]) == [{"prepared": said + "\n"}]


def test_a_diff_names_what_goes():
    assert engine.file_diffs([], [], ["/etc/old"]) == [{"prepared": "/etc/old: removed\n"}]


def test_the_diff_of_a_shared_file_shows_the_merged_result():
    ours = File("/etc/docker/daemon.json", b'{"live-restore": true}', "docker_engine", merge=True)
    item = {"path": ours.path, "reason": "content", "before": '{"runtimes": {}}', "after": "merged"}
    assert engine.file_diffs([ours], [item])[0]["after"] == "merged"


# ---------------------------------------------------------------- containers

ENTRY = {
    "image": "nginx:1.30.4",
    "memory_mb": 128,
    "ports": {
        "http": {"port": 80, "container": 8080, "from": ["lan"]},
        "admin": {"port": 8001, "from": ["localhost"]},
        "inner": {"port": 9000, "from": []},
    },
    "health": {"test": ["CMD", "true"], "interval_s": 10, "timeout_s": 3, "retries": 3, "start_s": 5},
}


NODE = {
    "address": "10.0.0.1",
    "health_start_interval_s": 5,
    "modes": {"day": ["nginx", "other"], "night": ["other"]},
}


def test_a_container_starts_from_the_hardened_baseline():
    baseline = engine.container_baseline("nginx", ENTRY, NODE, "")
    assert baseline["cap_drop"] == ["ALL"]
    assert baseline["read_only"] is True
    assert baseline["mem_limit"] == baseline["memswap_limit"] == "128m"
    assert baseline["healthcheck"]["interval"] == "10s"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(5, "5s"), (0, None)], ids=["engine 25 or newer", "an older engine"]
)
def test_a_starting_container_is_checked_more_often_where_the_engine_can(seconds, expected):
    node = {**NODE, "health_start_interval_s": seconds}
    assert (
        engine.container_baseline("nginx", ENTRY, node, "")["healthcheck"].get("start_interval") == expected
    )


def test_a_port_is_bound_to_those_who_may_reach_it():
    baseline = engine.container_baseline("nginx", ENTRY, NODE, "")
    assert baseline["ports"] == ["10.0.0.1:80:8080", "127.0.0.1:8001:8001"]


def test_a_service_of_some_modes_starts_in_these_only():
    assert engine.container_baseline("nginx", ENTRY, NODE, "")["profiles"] == ["day"]
    assert "profiles" not in engine.container_baseline("third", ENTRY, NODE, "")


def test_a_mirror_goes_in_front_of_the_image_name():
    baseline = engine.container_baseline("nginx", ENTRY, NODE, "mirror:5000")
    assert baseline["image"] == "mirror:5000/nginx:1.30.4"


SLEEPING = desired(
    containers={"sonar": "d1"}, container_owner={"sonar": "sonar"}, provision_inputs={"sonar": "i1"}
)


def test_a_service_of_another_mode_is_not_provisioned_before_it_wakes():
    plan = engine.make_plan(SLEEPING, actual(asleep=["sonar"], mode="llm"), {"sonar": True})
    assert plan["raise"]["provision"] == []
    assert plan["asleep"] == ["sonar"]
    assert plan["raise_needed"] is False


def test_a_container_of_another_mode_is_made_without_being_started():
    missing = [{"service": "sonar", "why": "missing"}]
    plan = engine.make_plan(SLEEPING, actual(asleep=["sonar"], containers=missing, mode="llm"), {})
    assert plan["raise"]["sleepers"] == ["sonar"]
    assert plan["lines"] == ["+ container sonar"]


def test_a_container_of_another_mode_that_runs_is_put_to_sleep():
    plan = engine.make_plan(SLEEPING, actual(asleep=["sonar"], restless=["sonar"], mode="llm"), {})
    assert plan["raise"]["restless"] == ["sonar"]
    assert plan["raise_needed"] is True
    assert plan["lines"] == ["~ container sonar (sleeps in mode llm)"]


def test_what_an_editor_leaves_in_a_template_folder_is_not_shipped(tmp_path):
    for name in ("kong.yml.j2", "kong.yml.j2~", "kong.yml.j2.orig", ".kong.yml.j2.swp", "kong.pyc"):
        (tmp_path / name).touch()
    assert engine.template_sources(tmp_path) == [tmp_path / "kong.yml.j2"]


def test_a_service_without_a_compose_file_is_refused_by_name():
    with pytest.raises(
        engine.AnsibleActionFail, match=r"service kong: no template renders .*roles/kong/templates"
    ):
        engine.compose_project([], "kong")


def test_a_compose_file_that_is_not_yaml_is_refused_by_name():
    broken = File("/opt/aicluster/kong/compose.yaml", b"services: [", "kong")
    with pytest.raises(engine.AnsibleActionFail, match=r"service kong: .*is not a compose file"):
        engine.compose_project([broken], "kong")


# ---------------------------------------------------------------- what comes before the services

DAEMON = File("/etc/docker/daemon.json", b"{}", "docker_engine", merge=True)
COMPOSE = File("/opt/aicluster/redis/compose.yaml", b"services: {}", "redis")
CHECK = File("/opt/aicluster/checks/redis.py", b"", "redis")
LIMITS = {
    "engine": {
        "source": "docker",
        "packages": {"engine": "docker-ce", "compose": "docker-compose-plugin"},
        "repository": {"packages": ["python3-debian"], "files": ["/etc/docker.sources"]},
        "runtimes": {"nvidia": {"path": "nvidia-container-runtime"}, "wasm": {"runtimeType": "io.wasm.v1"}},
    },
    "engine_packages": ["docker-ce", "docker-ce-cli", "docker-compose-plugin"],
    "disk_gb": {"redis": 3},
    "disk_reserved_gb": 8,
    "disk_floor_mb": 500,
    "disk_budget": True,
    "architecture": "arm64",
    "memory_mb": 8000,
}


def with_redis():
    return desired(
        files=[DAEMON, COMPOSE, CHECK],
        units=[{"name": "docker"}, {"name": "ssh"}],
        containers={"redis": "d1"},
        container_owner={"redis": "redis"},
        images={"redis": "redis:8.10.1"},
        volumes={"redis": ["redis_data"]},
        limits=LIMITS,
        rules={"/etc/docker/*": {"restart": "docker"}, "/opt/aicluster/redis/*": {"reload": "ssh"}},
    )


def obstacles(**changes):
    return {"obstacles": NOTHING_DIFFERS["obstacles"] | changes}


def missing(*files):
    return {"differing": [{"path": file.path, "reason": "missing", "before": ""} for file in files]}


def test_the_engine_is_brought_up_before_images_are_pulled_and_they_before_files_move():
    found = actual(
        **missing(DAEMON, COMPOSE),
        **obstacles(images={"redis:8.10.1": None}),
        units=[{"name": "docker", "why": "inactive"}, {"name": "ssh", "why": "inactive"}],
    )
    plan = engine.make_plan(with_redis(), found, {})
    assert (plan["engine"]["files"], plan["lay"]["files"]) == ([DAEMON.path], [COMPOSE.path])
    assert (plan["engine"]["reactions"], plan["lay"]["reactions"]) == (
        [["restart", "docker"]],
        [["reload", "ssh"]],
    )
    assert (plan["engine"]["units"], plan["lay"]["units"]) == (
        [{"name": "docker", "state": "restarted", "enabled": True}],
        [{"name": "ssh", "state": "reloaded", "enabled": True}],
    )
    assert plan["images"] == ["redis:8.10.1"]
    assert plan["lay_needed"] is True
    assert "+ image redis:8.10.1" in plan["lines"]


def test_without_an_image_to_pull_everything_is_laid_at_once():
    plan = engine.make_plan(with_redis(), actual(**missing(DAEMON, COMPOSE)), {})
    assert plan["lay"]["files"] == [DAEMON.path, COMPOSE.path]
    assert plan["lay"]["reactions"] == [["reload", "ssh"], ["restart", "docker"]]
    assert not any(plan["engine"].values())


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
                "+ image redis:8.10.1",
                "+ container redis",
                "~ provision ssh",
                "~ provision redis",
            ],
            id="none",
        ),
    ],
)
def test_an_engine_that_does_not_answer_is_not_taken_for_an_empty_one(why, lines):
    wanted = with_redis()
    wanted.provision_inputs = {"ssh": "i1", "redis": "i2"}
    found = actual(
        containers=[{"service": "redis", "why": "missing"}],
        units=[{"name": "docker", "why": why}],
        **obstacles(engine={"version": "", "api": ""}, images={"redis:8.10.1": None}),
    )
    plan = engine.make_plan(wanted, found, {})
    assert plan["lines"] == lines
    assert (plan["images"], plan["raise"]["containers"]) == (["redis:8.10.1"], ["redis"]), "to be looked at"


def test_an_image_to_pull_is_work_though_no_file_differs():
    plan = engine.make_plan(with_redis(), actual(**obstacles(images={"redis:8.10.1": None})), {})
    assert plan["lay_needed"] is True


PACKAGES: list[dict[str, Any]] = yaml.safe_load((ROLES / "stack/tasks/packages.yml").read_text())


@pytest.mark.parametrize(
    ("repair", "state", "keeps"),
    [
        pytest.param([], "present", False, id="packages are whole, and others may give way to ours"),
        pytest.param(["jq"], "fixed", True, id="one of ours is half there"),
        pytest.param(["theirs"], "fixed", True, id="one of others is half there, and stays"),
    ],
)
def test_apt_is_given_our_packages_alone_and_mends_without_removing(repair, state, keeps):
    [apt] = [task["ansible.builtin.apt"] for task in PACKAGES[-1]["block"] if "ansible.builtin.apt" in task]
    plan = {"lay": {"repair": repair, "packages": ["jq"]}}
    templar = Templar(loader=DataLoader(), variables={"__stack_plan": plan})
    asked = {key: templar.template(trust_as_template(apt[key])) for key in ("name", "state")}
    assert asked == {"name": ["jq"], "state": state}
    assert templar.template(trust_as_template(apt["fail_on_autoremove"])) is keeps


def test_what_dpkg_says_is_read_in_english():
    ours = [task for task in (*PACKAGES, *PACKAGES[-1]["rescue"]) if "ansible.builtin.command" in task]
    assert [task["environment"]["LC_ALL"] for task in ours] == ["C", "C"]


def test_packages_are_repaired_before_the_engine_is_laid_and_noted_only_when_they_are_new():
    found = actual(
        packages=["jq"],
        unfinished=[{"name": "theirs", "why": "unpacked"}],
        **obstacles(images={"redis:8.10.1": None}),
    )
    plan = engine.make_plan(with_redis(), found, {})
    assert (plan["lay"]["repair"], plan["engine"]["repair"], plan["lay_needed"]) == (["theirs"], [], True)
    assert (
        "theirs" not in engine.to_note({**plan, "wanted": engine.wanted_of(with_redis(), found)})["packages"]
    )


ABSENT = {"containers": [{"service": "redis", "why": "missing"}]}


@pytest.mark.parametrize(
    ("found", "new"),
    [
        pytest.param({**missing(COMPOSE, CHECK), **ABSENT}, ["redis"], id="nothing of it is there"),
        pytest.param({**missing(COMPOSE), **ABSENT}, [], id="files of an interrupted run are there"),
        pytest.param({**missing(COMPOSE, CHECK)}, [], id="its container is there"),
        pytest.param(
            {**missing(COMPOSE, CHECK), **ABSENT, **obstacles(volumes=["redis_data"])},
            [],
            id="its data survived a cleanup",
        ),
    ],
)
def test_a_service_is_still_to_come_when_a_node_has_nothing_of_it(found, new):
    assert engine.new_services(with_redis(), actual(**found)) == new


@pytest.mark.parametrize(
    ("packages", "coming"),
    [
        pytest.param([], {"engine": False, "compose": False}, id="nothing"),
        pytest.param(["docker-ce"], {"engine": True, "compose": True}, id="the engine"),
        pytest.param(["docker-ce-cli"], {"engine": False, "compose": True}, id="the client"),
        pytest.param(["jq"], {"engine": False, "compose": False}, id="something else"),
    ],
)
def test_what_a_run_installs_is_not_missed(packages, coming):
    assert engine.wanted_of(with_redis(), actual(packages=packages))["engine"]["coming"] == coming


def test_a_node_is_asked_for_the_programs_of_its_runtimes_and_told_which_packages_come():
    assert engine.engine_question(with_redis())["programs"] == ["nvidia-container-runtime"]
    assert engine.wanted_of(with_redis(), actual(packages=["b", "a"]))["packages"] == ["a", "b"]


@pytest.mark.parametrize(("counts", "wanted"), [(True, 8000), ("no", None)])
def test_memory_is_wanted_where_nodes_do_not_share_a_machine(counts, wanted):
    node = {"services": {}, "disk_reserved_gb": 8, "architecture": "arm64", "memory_mb": 8000}
    settings = dict.fromkeys(engine.SETTINGS, 0) | {"stack_memory_budget": counts}
    assert engine.limits_of(node, {"engine": {}}, settings)["memory_mb"] == wanted


@pytest.mark.parametrize(
    ("packages", "noted"),
    [
        pytest.param(
            ["docker-ce"],
            {"packages": ["docker-ce", "python3-debian"], "sources": ["/etc/docker.sources"]},
            id="with the engine its repository",
        ),
        pytest.param(["jq"], {"packages": ["jq"], "sources": []}, id="without it none"),
    ],
)
def test_what_a_run_is_about_to_add_is_noted(packages, noted):
    found = actual(packages=packages)
    plan = {**engine.make_plan(with_redis(), found, {}), "wanted": engine.wanted_of(with_redis(), found)}
    assert engine.to_note(plan) == noted


@pytest.mark.parametrize(
    ("api", "why", "absent"),
    [
        pytest.param("1.45", "", False, id="one that answers"),
        pytest.param("", "inactive", False, id="one that is stopped"),
        pytest.param("", "not there, inactive", True, id="none"),
    ],
)
def test_an_engine_that_is_stopped_is_not_absent(api, why, absent):
    found = actual(
        units=[{"name": "docker", "why": why}] if why else [], **obstacles(engine={"version": "", "api": api})
    )
    assert engine.found_of(found)["engine"]["absent"] is absent


def test_a_refused_node_lists_its_complaints_under_its_name():
    assert engine.report("PI41", ["a: b; c", "d: e; f"], "nothing was changed on it") == (
        "PI41: 2 things stand in the way; nothing was changed on it.\n  1. a: b; c\n  2. d: e; f"
    )


def test_every_node_of_a_real_site_is_described_for_its_judgement():
    rendering = renderer("production", hosts_running("redis")[0])
    wanted, _ = engine.desired_state(rendering, ROLES)
    assert set(wanted.images) == set(wanted.containers)
    assert "redis_data" in wanted.volumes["redis"]
    assert wanted.limits["engine"]["oldest"]["api"] == "1.44"
    judged = engine.wanted_of(wanted, actual())
    assert node_complaints(THERE, "PI52", judged) == []


# A node on which nothing stands in the way, in the shape the inspection returns.
THERE: dict[str, Any] = {
    "door": None,
    "board": {"machine": "aarch64", "bits": 64, "memory_mb": 8058, "l4t": "", "held": [], "absent": []},
    "memory_cgroup": {"on": True, "evidence": "", "cmdline": ""},
    "engine": {"absent": False, "version": "29.1", "api": "1.52"},
    "compose": None,
    "starting": None,
    "disks": [{"path": "/", "mount": "/", "device": 1, "docker": True, "free_mb": 10**6, "size_mb": 10**6}],
    "volumes": [],
    "images": {},
}


# --- the way in ---

OPTIONS: dict[str, Any] = {
    "ssh_executable": "ssh",
    "host": "10.0.0.5",
    "port": 2222,
    "remote_user": "ansible",
    "private_key_file": "/keys/my id",
    "timeout": 15,
    "host_key_checking": False,
    "ssh_args": "-o ControlMaster=auto -o ControlPersist=10m",
    "ssh_common_args": "-o ProxyJump=gate",
    "ssh_extra_args": None,
}
KEYS_ONLY = desired(rules={"/etc/ssh/a.conf": {"keys_only": True}})


def test_the_way_in_is_tried_as_ansible_logs_in_without_its_open_connection_and_without_a_password():
    command = engine.key_login(OPTIONS.get)
    settings = [text for flag, text in itertools.pairwise(command) if flag == "-o"]
    names = [text.partition("=")[0] for text in settings]
    assert {'ControlPath="none"', 'BatchMode="yes"', 'PasswordAuthentication="no"'} <= set(settings)
    assert {'Port="2222"', 'User="ansible"', 'IdentityFile="/keys/my id"', "ProxyJump=gate"} <= set(settings)
    assert names.index("ControlPath") < names.index("ControlMaster"), "of two, ssh takes the first"
    assert command[-2:] == ["10.0.0.5", "true"]


def an_ssh(tmp_path, body: str, name: str = "ansible.builtin.ssh") -> Any:
    program = tmp_path / "ssh"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    given = {**OPTIONS, "ssh_executable": str(program)}
    return SimpleNamespace(_connection=SimpleNamespace(ansible_name=name, get_option=given.get))


DENIED = "echo Warning: a name >&2; echo 'Permission denied (publickey).' >&2; exit 255"


@pytest.mark.parametrize(
    ("body", "path", "said"),
    [
        pytest.param(DENIED, "/etc/ssh/a.conf", "Permission denied (publickey).", id="shut, and it matters"),
        pytest.param(DENIED, "/etc/other", None, id="no file that ends logins with a password changes"),
        pytest.param("exit 0", "/etc/ssh/a.conf", None, id="a key opens"),
    ],
)
def test_a_door_that_no_key_opens_is_found_before_passwords_end(tmp_path, body, path, said):
    found = actual(differing=[{"path": path, "reason": "missing", "before": ""}])
    door = engine.ActionModule._door(an_ssh(tmp_path, body), KEYS_ONLY, found)
    shut = {"user": "ansible", "host": "10.0.0.5", "port": 2222, "key": "/keys/my id", "said": said}
    assert door == (shut if said else None)


@pytest.mark.parametrize(
    ("by", "path", "door"),
    [
        pytest.param("ansible.builtin.paramiko_ssh", "/etc/ssh/a.conf", True, id="by another ssh"),
        pytest.param("mitogen_ssh", "/etc/ssh/a.conf", True, id="by one that calls its transport ssh"),
        pytest.param("ansible.builtin.local", "/etc/ssh/a.conf", True, id="on this machine"),
        pytest.param(
            "mitogen_ssh", "/etc/other", False, id="no file that ends logins with a password changes"
        ),
        pytest.param("ssh", "/etc/ssh/a.conf", False, id="by ssh under its short name"),
    ],
)
def test_a_way_in_that_cannot_be_tried_with_a_key_is_named(tmp_path, by, path, door):
    found = actual(differing=[{"path": path, "reason": "missing", "before": ""}])
    named = engine.ActionModule._door(an_ssh(tmp_path, "exit 0", by), KEYS_ONLY, found)
    assert named == ({"by": by} if door else None)


def test_ansibles_own_connection_is_known_by_its_name():
    for name in ("ssh", "ansible.builtin.ssh", "local"):
        connection = connection_loader.get(name, PlayContext())
        assert connection.ansible_name == f"ansible.builtin.{name.rpartition('.')[2]}"


def test_the_file_that_ends_logins_with_a_password_says_so():
    rendering = renderer("production", hosts_running("redis")[0])
    rules = rendering.state("base", rendering.variables("base", {}))[0]["files"]
    assert engine.locks_out(["/etc/ssh/sshd_config.d/00-aicluster.conf"], rules)
    assert not engine.locks_out(["/etc/sysctl.d/90-aicluster.conf"], rules)


# ---------------------------------------------------------------- one run at a time


@pytest.fixture
def process():
    """A process of this machine that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        yield started
        started.kill()


def test_a_run_is_known_by_its_process_and_by_who_began_it(process):
    run = engine.this_run(process.pid)
    assert engine.this_run(process.pid) == run
    assert run["run"] != engine.this_run(os.getpid())["run"]
    assert run["who"].partition("@")[2] in run["machine"]


def test_a_run_whose_process_lives_is_not_dead_and_one_that_was_killed_is(process):
    me = engine.this_run(os.getpid())
    holder = engine.this_run(process.pid)
    assert not engine.is_dead(holder, me)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert engine.is_dead(holder, me), "though nobody has waited for it yet"
    process.wait()
    assert engine.is_dead(holder, me)


@pytest.mark.parametrize(
    ("changes", "dead"),
    [
        pytest.param({}, False, id="one that lives"),
        pytest.param({"pid": 2**22 + 1}, True, id="one whose process is gone"),
        pytest.param({"began": "1"}, True, id="one whose number another process has now"),
        pytest.param({"boot": "the last one"}, True, id="one before the last boot of this machine"),
        pytest.param({"machine": "laptop", "pid": 2**22 + 1}, False, id="one of another machine: who knows"),
    ],
)
def test_only_a_run_that_can_be_seen_to_be_over_is_dead(changes, dead):
    me = engine.this_run(os.getpid())
    assert engine.is_dead({**me, **changes}, me) is dead


def test_a_held_node_is_refused_with_who_holds_it_since_when_and_what_to_do():
    holder = {
        "who": "anna@laptop",
        "pid": 4242,
        "play": "site.yml",
        "since": "2026-11-29 02:51:11 UTC",
        "silent_s": 12,
    }
    assert engine.taken("PI31", holder, "/run/x.lock") == (
        "node PI31 held by anna@laptop (pid 4242, site.yml) since 2026-11-29 02:51:11 UTC, last seen 12 s "
        "ago: must be changed by one run at a time; wait until that one ends, or, if it is gone for good, "
        "`sudo rm /run/x.lock` there, and run this again"
    )


@pytest.mark.parametrize(
    ("answers", "dead", "overs"),
    [
        pytest.param([{"changed": False}], False, [None], id="a free node is asked once"),
        pytest.param(
            [{"taken": {"run": "r1"}, "lock": "/l"}, {"changed": False}],
            True,
            [None, "r1"],
            id="a dead run is taken over by name",
        ),
    ],
)
def test_a_phase_that_changes_a_node_holds_it(monkeypatch, answers, dead, overs):
    plugin = engine.ActionModule.__new__(engine.ActionModule)
    sent: list[dict[str, Any]] = []

    def send(_vars: Any, **request: Any) -> dict[str, Any]:
        sent.append(request)
        answer: dict[str, Any] = answers[len(sent) - 1]
        return answer

    monkeypatch.setattr(plugin, "_send", send)
    monkeypatch.setattr(engine, "is_dead", lambda _holder, _me: dead)
    assert plugin._change({"node_name": "PI31"}, phase="take") == {"changed": False}
    assert [request.get("over") for request in sent] == overs
    assert {request["run"]["pid"] for request in sent} == {os.getpid()}


def test_a_task_knows_the_process_of_its_run_whatever_became_of_it():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(engine.process_of_this_run).result() == os.getpid()


def test_what_is_left_of_a_killed_run_changes_nothing(monkeypatch, process):
    plugin = engine.ActionModule.__new__(engine.ActionModule)
    monkeypatch.setattr(engine, "process_of_this_run", lambda: process.pid)
    process.kill()
    process.wait()
    with pytest.raises(AnsibleActionFail, match="the run of this task is gone: PI31 is left as it is"):
        plugin._change({"node_name": "PI31"}, phase="ship")


def test_a_living_run_of_others_ends_the_phase(monkeypatch):
    plugin = engine.ActionModule.__new__(engine.ActionModule)
    holder = {"who": "a@b", "pid": 1, "play": "x", "since": "s", "silent_s": 0, "run": "r"}
    monkeypatch.setattr(plugin, "_send", lambda _vars, **_request: {"taken": holder, "lock": "/l"})
    monkeypatch.setattr(engine, "is_dead", lambda _holder, _me: False)
    with pytest.raises(engine.AnsibleActionFail, match="node PI31 held by a@b"):
        plugin._change({"node_name": "PI31"}, phase="take")
