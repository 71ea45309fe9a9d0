"""Containers, modes and provisioning of a node, and the conditions a run depends on."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from aicluster_node import docker, state, system
from node_half import QUESTION, an_engine, container, inspect, want

pytestmark = pytest.mark.usefixtures("own_node")


@pytest.fixture
def running(monkeypatch):
    """The containers that are there."""

    def are(*containers):
        found = {one["owner"]: one for one in containers}
        monkeypatch.setattr(docker, "project_containers", lambda: found)

    return are


def test_the_engine_is_asked_for_containers_of_services_and_not_for_what_somebody_runs_once(tmp_path):
    labels = {"com.docker.compose.service": "sql", "aicluster.service": "postgres", "aicluster.digest": "d"}
    listed = [
        {"Id": "1", "State": "running", "Status": "Up 2 minutes (unhealthy)", "Labels": labels},
        {"Id": "2", "State": "exited", "Labels": {"com.docker.compose.service": "other"}},
    ]
    with an_engine(tmp_path / "docker.sock", {}) as asked:
        assert docker.project_containers() == {}
    path = asked[0].split()[1]
    filters = json.loads(parse_qs(path.partition("?")[2])["filters"][0])
    assert filters == {"label": ["com.docker.compose.project=aicluster", "com.docker.compose.oneoff=False"]}
    (tmp_path / "docker.sock").unlink()
    with an_engine(tmp_path / "docker.sock", {path: (200, listed)}):
        found = docker.project_containers()
    sql = {"id": "1", "owner": "postgres", "digest": "d", "state": "running", "health": "unhealthy"}
    other = {"id": "2", "owner": "", "digest": "", "state": "exited", "health": ""}
    assert found == {"sql": sql, "other": other}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(None, "missing", id="no container"),
        pytest.param({"digest": "other"}, "changed", id="another digest"),
        pytest.param({"state": "exited"}, "exited", id="not running"),
        pytest.param({"health": "unhealthy"}, "unhealthy", id="unhealthy"),
        pytest.param({"health": "starting"}, "starting", id="not yet healthy"),
        pytest.param({}, None, id="as wanted"),
    ],
)
def test_a_container_deviates_for_one_reason(found, why):
    containers = {} if found is None else {"kong": container("kong", **found)}
    deviating = docker.deviating_containers({"kong": "d"}, containers)
    assert [item["why"] for item in deviating] == ([why] if why else [])


# --- modes: sets of services that run one at a time ---

MODES = {
    "containers": {"always": "d", "chat": "d", "paint": "d"},
    "container_modes": {"chat": ["llm"], "paint": ["image"]},
    "images": {"always": "a:1", "chat": "c:1", "paint": "p:1"},
    "mode": "llm",
}


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (None, "llm"),
        ("COMPOSE_PROFILES=image\n", "image"),
        ("COMPOSE_PROFILES=gone\n", "llm"),
        ("x\n", "llm"),
    ],
    ids=["a fresh node", "a node that was switched", "a mode that went away", "another file"],
)
def test_a_node_is_in_the_mode_it_was_switched_to_or_in_its_first(tmp_path, content, mode):
    if content is not None:
        (tmp_path / "stack").mkdir()
        (tmp_path / "stack" / ".env").write_text(content)
    assert inspect(**MODES)["mode"] == mode


@pytest.mark.parametrize(
    ("paint", "why", "unexpected"),
    [
        pytest.param({"state": "created"}, None, False, id="exists and does not run"),
        pytest.param({"state": "running"}, None, True, id="runs"),
        pytest.param({"state": "restarting"}, None, True, id="crashes repeatedly"),
        pytest.param({"state": "paused"}, None, True, id="is paused"),
        pytest.param(None, "missing", False, id="is missing"),
        pytest.param({"state": "exited", "digest": "old"}, "changed", False, id="is of older files"),
    ],
)
def test_an_inactive_service_has_a_container_that_does_not_run(running, paint, why, unexpected):
    there = [container("paint", **paint)] if paint else []
    running(container("always"), container("chat"), *there)
    found = inspect(**MODES)
    assert found["inactive"] == ["paint"]
    assert found["containers"] == ([{"service": "paint", "why": why}] if why else [])
    assert found["unexpected"] == (["paint"] if unexpected else [])


# --- provisioning ---


@pytest.mark.parametrize(
    ("now", "known"),
    [
        pytest.param([container("sql")], {"sql": "s1", "host": "h1"}, id="the one that was provisioned"),
        pytest.param([container("sql", state="exited")], {"sql": "s1", "host": "h1"}, id="it, stopped"),
        pytest.param([container("sql", id="sql-2")], {"host": "h1"}, id="one that somebody made anew"),
        pytest.param([], {"host": "h1"}, id="none, and a run that dies before it provisions the next"),
    ],
)
def test_provisioned_is_a_container_not_a_name(running, now, known):
    running(container("sql"))
    inspect(provisioned_now={"sql": "s1", "host": "h1"})
    running(*now)
    assert inspect()["provisioned"] == known


def test_what_is_known_of_an_inactive_service_stays_known():
    inspect(provisioned_now={"chat": "c1", "paint": "p1"})
    assert inspect(provisioned_now={"chat": "c2", "paint": None})["provisioned"] == {
        "chat": "c2",
        "paint": "p1",
    }
    assert inspect(provisioned_now={"chat": "c2"})["provisioned"] == {"chat": "c2"}


# --- conditions ---

ENGINE: dict[str, Any] = {"/info": (200, {"Driver": "overlay2"})}
MISSING = {"containers": {"redis": "d"}, "images": {"redis": "redis:8.10.1"}}


def test_the_engine_names_its_version_and_api_in_the_headers_of_any_answer(tmp_path):
    assert docker.engine() == ({"version": "", "api": ""}, {}), "no engine"
    with an_engine(tmp_path / "docker.sock", ENGINE):
        assert docker.engine() == ({"version": "20.10.24+dfsg1", "api": "1.41"}, {"Driver": "overlay2"})


def test_nothing_is_asked_of_engine_or_registry_where_no_container_differs(tmp_path, monkeypatch, running):
    monkeypatch.setattr(docker, "compose_version", lambda: pytest.fail("half a second of a small board"))
    running(container("redis"))
    with an_engine(tmp_path / "docker.sock", ENGINE) as asked:
        found = inspect(**MISSING)["conditions"]
    assert (found["images"], found["compose"]) == ({}, None)
    assert [request.split()[1] for request in asked if request] == ["/info"]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        pytest.param({"/images/redis:8.10.1/json": (200, {})}, {}, id="is not asked of one that is there"),
        pytest.param(
            {
                "/distribution/redis:8.10.1/json": (
                    200,
                    {"Platforms": [{"os": "linux", "architecture": "arm64"}]},
                )
            },
            {"redis:8.10.1": {"status": 200, "message": "", "platforms": ["linux/arm64"]}},
            id="is asked of a missing one",
        ),
    ],
)
def test_the_registry_of_an_image(tmp_path, answers, found):
    with an_engine(tmp_path / "docker.sock", ENGINE | answers) as asked:
        assert inspect(**MISSING)["conditions"]["images"] == found
    assert not [request for request in asked if request.startswith("POST")], "nothing is downloaded"


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        pytest.param({"packages": ["docker-ce"]}, {}, id="it is still to be installed"),
        pytest.param({"units": [{"name": "docker"}]}, {}, id="it does not run"),
        pytest.param({}, {"pending": [["restart", "docker"]]}, id="it still has to be restarted"),
        pytest.param({"engine": {**QUESTION["engine"], "files": ["/daemon"]}}, {}, id="its file differs"),
    ],
)
def test_an_engine_that_is_not_as_wanted_is_not_asked_about_registries(
    tmp_path, monkeypatch, changes, before
):
    monkeypatch.setattr(system, "run", lambda _command: "")
    state.write_state({**state.read_state(), **before})
    with an_engine(tmp_path / "docker.sock", ENGINE) as asked:
        found = inspect(want("/daemon", b"x"), **MISSING, **changes)["conditions"]
    assert found["images"] == {"redis:8.10.1": None}
    assert found["engine"]["ready"] is False
    assert not [request for request in asked if "/distribution/" in request]
