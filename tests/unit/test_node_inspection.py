"""What a node is found with: containers, profiles, provisioning, images; and the conditions of a run."""

import base64
import json
from typing import Any
from urllib.parse import parse_qs

import pytest
from aicluster_node import docker, images, state, system
from node_half import ENGINE, an_engine, container, inspect, want
from tables import cases

pytestmark = pytest.mark.usefixtures("own_node")


@pytest.fixture
def running(monkeypatch):
    def are(*containers):
        found = {one["owner"]: one for one in containers}
        monkeypatch.setattr(docker, "project_containers", lambda: found)

    return are


def test_a_container_that_somebody_runs_once_in_a_services_name_is_not_the_service(tmp_path):
    with an_engine(tmp_path / "docker.sock", {}) as asked:
        assert docker.project_containers() == {}
    query = asked[0].split()[1].partition("?")[2]
    labels = ["com.docker.compose.project=aicluster", "com.docker.compose.oneoff=False"]
    assert json.loads(parse_qs(query)["filters"][0]) == {"label": labels}


@cases(("found", "runs", "replaced"), {
    "another one": ({"digest": "other"}, "redis:7", True),
    "the same, with other files": ({"digest": "other"}, "redis:8", False),
    "another one that never ran": ({"digest": "other", "state": "created"}, "redis:7", False),
})  # fmt: skip
def test_the_image_that_a_container_runs_until_now(tmp_path, running, found, runs, replaced):
    running(container("redis", **found))
    engine = {
        "/containers/redis-1/json": (200, {"Config": {"Image": runs}, "Image": "sha256:id"}),
        "/images/sha256:id/json": (200, {"RepoDigests": ["redis@sha256:7"]}),
    }
    with an_engine(tmp_path / "docker.sock", INFO | engine):
        until_now = {"redis": {"image": "redis:7", "digest": "sha256:7"}}
        assert inspect(**REDIS)["replaced"] == (until_now if replaced else {})


def test_what_a_service_was_is_remembered_until_its_next_change():
    for image in ("redis:6", "redis:7"):
        state.remember({"before": {"redis": {"image": image}}})
    state.remember({"before": {"minio": {"image": "minio:1"}}})
    assert state.recall({})["before"] == {"redis": {"image": "redis:7"}, "minio": {"image": "minio:1"}}


PROFILES = {
    "containers": {"always": "d", "chat": "d", "paint": "d"},
    "container_profiles": {"chat": ["llm"], "paint": ["image"]},
    "images": {"always": "a:1", "chat": "c:1", "paint": "p:1"},
    "profile": "llm",
}


@cases(("content", "profile"), {
    "a node that was switched": ("COMPOSE_PROFILES=image\n", "image"),
    "a profile that went away": ("COMPOSE_PROFILES=gone\n", "llm"),
    "another file": ("x\n", "llm"),
})  # fmt: skip
def test_a_node_is_in_the_profile_it_was_switched_to_or_in_its_first(tmp_path, content, profile):
    assert inspect(**PROFILES)["profile"] == "llm", "a fresh node"
    (tmp_path / "stack").mkdir()
    (tmp_path / "stack" / ".env").write_text(content)
    assert inspect(**PROFILES)["profile"] == profile


@cases(("service", "found", "why", "unexpected"), {
    "there is no container": ("chat", None, "missing", False),
    "it is of older files": ("chat", {"digest": "other"}, "changed", False),
    "it does not run": ("chat", {"state": "exited"}, "exited", False),
    "nothing, it is as wanted": ("chat", {}, None, False),
    "nothing, an inactive one does not run": ("paint", {"state": "created"}, None, False),
    "an inactive one runs": ("paint", {"state": "running"}, None, True),
    "an inactive one is paused": ("paint", {"state": "paused"}, None, True),
    "there is no container of an inactive one": ("paint", None, "missing", False),
    "an inactive one is of older files": ("paint", {"state": "exited", "digest": "old"}, "changed", False),
})  # fmt: skip
def test_a_container_deviates_for_one_reason(running, service, found, why, unexpected):
    as_wanted = {"always": {}, "chat": {}, "paint": {"state": "created"}, service: found}
    running(*(container(name, **one) for name, one in as_wanted.items() if one is not None))
    seen = inspect(**PROFILES)
    assert seen["inactive"] == ["paint"]
    assert seen["containers"] == ([{"service": service, "why": why}] if why else [])
    assert seen["unexpected"] == ([service] if unexpected else [])


@cases(("now", "known"), {
    "the one that was provisioned": ([container("sql")], {"sql": "s1", "host": "h1"}),
    "it, stopped": ([container("sql", state="exited")], {"sql": "s1", "host": "h1"}),
    "one that somebody made anew": ([container("sql", id="sql-2")], {"host": "h1"}),
    "none, and a run that dies before it provisions the next": ([], {"host": "h1"}),
})  # fmt: skip
def test_provisioned_is_a_container_not_a_name(running, now, known):
    running(container("sql"))
    inspect(provisioned_now={"sql": "s1", "host": "h1"})
    running(*now)
    assert inspect()["provisioned"] == known


def test_what_is_known_of_an_inactive_service_stays_known():
    inspect(provisioned_now={"chat": "c1", "paint": "p1"})
    known = {"chat": "c2", "paint": "p1"}
    assert inspect(provisioned_now={"chat": "c2", "paint": None})["provisioned"] == known
    assert inspect(provisioned_now={"chat": "c2"})["provisioned"] == {"chat": "c2"}


def test_a_run_about_one_role_forgets_nothing_of_the_others():
    pending = [["restart", "docker"], ["reload container", "sql"]]
    state.write_state({**state.read_state(), "pending": pending, "provisioned": {"host": ["h1", []]}})
    inspect(provisioned_now={"sql": "s1"}, done=[["reload container", "sql"]])
    remembered = state.read_state()
    assert remembered["pending"] == [["restart", "docker"]]
    assert remembered["provisioned"] == {"host": ["h1", []], "sql": ["s1", []]}


INFO: dict[str, Any] = {"/info": (200, {"Driver": "overlay2"})}
REDIS = {"containers": {"redis": "d"}, "images": {"redis": "redis:8"}}


@cases(("path", "found"), {
    "is not asked of an image that is there": ("/images/redis:8/json", {}),
    "is asked of a missing one": ("/distribution/redis:8/json",
        {"redis:8": {"status": 200, "message": "", "platforms": ["linux/arm64"]}}),
})  # fmt: skip
def test_the_registry(tmp_path, path, found):
    offered = {"Platforms": [{"os": "linux", "architecture": "arm64"}]}
    with an_engine(tmp_path / "docker.sock", {**INFO, path: (200, offered)}) as asked:
        assert inspect(**REDIS)["conditions"]["images"] == found
    assert not [request for request in asked if request.startswith("POST")], "nothing is downloaded"


@cases(("changes", "pending"), {
    "it is still to be installed": ({"packages": ["docker-ce"]}, []),
    "it does not run": ({"units": [{"name": "docker"}]}, []),
    "it still has to be restarted": ({}, [["restart", "docker"]]),
    "its file differs": ({"engine": {**ENGINE, "files": ["/daemon"]}}, []),
})  # fmt: skip
def test_an_engine_that_is_not_as_wanted_is_asked_for_no_registry(tmp_path, monkeypatch, changes, pending):
    monkeypatch.setattr(system, "run", lambda _command: "")
    state.write_state({**state.read_state(), "pending": pending})
    with an_engine(tmp_path / "docker.sock", INFO) as asked:
        found = inspect(want("/daemon", b"x"), **REDIS, **changes)["conditions"]
    assert (found["images"], found["engine"]["ready"]) == ({"redis:8": None}, False)
    assert not [request for request in asked if "/distribution/" in request]


def test_the_login_of_root_is_shown_to_the_registry_it_is_for(tmp_path):
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "logins.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    with an_engine(tmp_path / "docker.sock", {}) as asked:
        images.ask_registry("ghcr.io/a/b:1")
        images.ask_registry("redis:8")
    with_login, without = asked
    shown = with_login.partition("X-Registry-Auth: ")[2].split()[0]
    login = {"username": "me", "password": "secret", "serveraddress": "ghcr.io"}
    assert json.loads(base64.urlsafe_b64decode(shown)) == login
    assert "X-Registry-Auth" not in without


@cases(("file", "content"), {
    "a helper program keeps the logins": ("logins.json", {"credsStore": "pass"}),
    "a pull also uses a mirror": ("daemon.json", {"registry-mirrors": ["http://m"]}),
})  # fmt: skip
def test_what_a_question_cannot_tell_is_left_to_the_pull(tmp_path, file, content):
    (tmp_path / file).write_text(json.dumps(content))
    assert images.ask_registry("redis:8")["status"] is None


def test_an_image_that_an_engine_has_once_it_runs_is_not_pulled(tmp_path, monkeypatch):
    monkeypatch.setattr(docker, "compose_version", lambda: "2.26.1")
    monkeypatch.setattr(images, "pull_one", lambda _image: {"status": 200})
    with an_engine(tmp_path / "docker.sock", {"/images/redis:8/json": (200, {})}):
        assert list(images.pull({"images": ["redis:8", "nginx:1"]})["images"]) == ["nginx:1"]
