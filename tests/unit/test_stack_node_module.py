"""The node's half of the engine, run on a folder of this machine instead of a node."""

import base64
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from by_path import import_file

node = import_file("library/stack_node.py", "stack_node_module")
THE_REAL_PROJECT_CONTAINERS = node.project_containers
ME = {"uid": os.getuid(), "gid": os.getgid()}


@pytest.fixture(autouse=True)
def a_node_of_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "STATE_FILE", str(tmp_path / "state" / "state.json"))
    monkeypatch.setattr(node, "STACK_ROOT", str(tmp_path / "stack"))
    monkeypatch.setattr(node, "project_containers", dict)
    return tmp_path


def archive(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(str(path).lstrip("/"))
            member.size, member.mode = len(content), 0o640
            member.uid, member.gid = ME["uid"], ME["gid"]
            tar.addfile(member, io.BytesIO(content))
    return base64.b64encode(buffer.getvalue()).decode()


def ship(files, **changes):
    fragments = changes.pop("fragments", {})
    owned = [{"path": str(path), "fragment": fragments.get(path)} for path in files]
    parameters = {"files": owned, "archive": archive(files), "remove": [], "reactions": []}
    return node.ship({**parameters, "validations": {}, "compose_check": False, **changes})


def want(path, content, mode="0640"):
    return {
        "path": str(path),
        "sha256": hashlib.sha256(content).hexdigest(),
        "accept": [],
        "mode": mode,
        **ME,
        "text": True,
    }


QUESTION: dict[str, Any] = {
    "phase": "inspect",
    "files": [],
    "packages": [],
    "units": [],
    "containers": {},
    "container_modes": {},
    "mode": None,
    "probes": {},
    "commit": None,
    "installed": [],
    "with_text": True,
}


def inspect(files, **changes):
    return node.inspect({**QUESTION, "files": files, **changes})


def test_what_was_shipped_no_longer_differs(tmp_path):
    path = tmp_path / "stack" / "a" / "conf"
    assert inspect([want(path, b"x")])["differing"][0]["reason"] == "missing"
    ship({path: b"x"})
    assert inspect([want(path, b"x")])["differing"] == []


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(lambda p: p.write_bytes(b"y"), "content", id="somebody edited the file"),
        pytest.param(
            lambda p: p.chmod(0o666), "owner or mode 0666", id="somebody opened the file to the world"
        ),
        pytest.param(
            lambda p: (p.unlink(), p.symlink_to("/dev/null")), "not a regular", id="a link took its place"
        ),
    ],
)
def test_drift_is_found_and_mended(tmp_path, spoil, reason):
    path = tmp_path / "stack" / "conf"
    ship({path: b"x"})
    spoil(path)
    assert inspect([want(path, b"x")])["differing"][0]["reason"].startswith(reason)
    ship({path: b"x"})
    assert inspect([want(path, b"x")])["differing"] == []


def test_a_link_in_the_place_of_a_file_never_leads_to_what_it_points_at(tmp_path):
    path, victim = tmp_path / "stack" / "conf", tmp_path / "victim"
    victim.write_bytes(b"somebody's own")
    victim.chmod(0o600)
    ship({path: b"x"})
    path.unlink()
    path.symlink_to(victim)
    with pytest.raises(node.RefusedError):
        ship({path: b"new"}, validations={str(path): "false %s"})
    ship({path: b"new"})
    assert (victim.read_bytes(), victim.stat().st_mode & 0o777) == (b"somebody's own", 0o600)
    assert path.read_bytes() == b"new"


def test_a_folder_in_the_place_of_a_file_is_refused_by_name(tmp_path):
    path = tmp_path / "stack" / "conf"
    path.mkdir(parents=True)
    with pytest.raises(node.RefusedError, match="conf is a folder where a file belongs"):
        ship({path: b"x"})


def test_what_others_keep_below_the_project_is_not_staged(tmp_path):
    dump = tmp_path / "stack" / "dump.sql"
    dump.parent.mkdir()
    dump.write_bytes(b"large")
    path = tmp_path / "stack" / "conf"
    alone = 'sh -c \'test "$(ls "$(dirname "$1")")" = conf\' sh %s'
    ship({path: b"x"}, validations={str(path): alone})
    assert dump.exists()


def test_a_file_too_long_for_a_diff_shows_no_part_of_itself(tmp_path):
    path = tmp_path / "stack" / "conf"
    ship({path: b"x" * (node.DIFF_LIMIT_BYTES + 1)})
    assert inspect([want(path, b"y")])["differing"][0]["before"] is None


def test_a_file_a_checker_refuses_replaces_nothing(tmp_path):
    good, bad = tmp_path / "stack" / "good", tmp_path / "stack" / "bad"
    ship({good: b"old", bad: b"old"})
    with pytest.raises(node.RefusedError, match="bad was refused by `false`"):
        ship({good: b"new", bad: b"new"}, validations={str(bad): "false %s"})
    assert good.read_bytes() == bad.read_bytes() == b"old"


def test_a_checker_sees_the_new_file_before_it_is_in_place(tmp_path):
    path = tmp_path / "stack" / "conf"
    ship({path: b"old"})
    ship({path: b"new"}, validations={str(path): "grep -q new %s"})
    assert path.read_bytes() == b"new"


def test_a_file_that_no_longer_belongs_goes_and_takes_its_empty_folder_along(tmp_path):
    gone, stays = tmp_path / "stack" / "old" / "conf", tmp_path / "stack" / "conf"
    ship({gone: b"x", stays: b"x"})
    assert inspect([want(stays, b"x")])["leftover"] == [str(gone)]
    ship({stays: b"x"}, remove=[str(gone)])
    assert not gone.parent.exists()
    assert inspect([want(stays, b"x")])["leftover"] == []


def test_a_file_the_toolkit_never_wrote_is_not_its_business(tmp_path):
    stranger = tmp_path / "stack" / "mine"
    stranger.parent.mkdir()
    stranger.write_text("a user's own")
    ship({tmp_path / "stack" / "conf": b"x"})
    assert inspect([])["leftover"] == [str(tmp_path / "stack" / "conf")]
    assert stranger.exists()


def test_a_reaction_is_owed_until_it_was_carried_out(tmp_path):
    path = tmp_path / "stack" / "conf"
    ship({path: b"x"}, reactions=[["restart", "docker"], ["reload", "ssh"]])
    node.reacted({"reactions": [["restart", "docker"]]})
    assert inspect([want(path, b"x")])["pending"] == [["reload", "ssh"]]


def test_a_commit_owes_nothing_and_remembers_what_was_provisioned(tmp_path):
    path = tmp_path / "stack" / "conf"
    ship({path: b"x"}, reactions=[["restart", "docker"]])
    assert inspect([want(path, b"x")])["pending"] == [["restart", "docker"]]
    assert inspect([want(path, b"x")], commit={"kong": "d1"})["pending"] == []
    assert inspect([want(path, b"x")])["provisioned"] == {"kong": "d1"}


def test_a_run_killed_before_the_files_are_in_place_still_owes_its_reactions(tmp_path, monkeypatch):
    path = tmp_path / "stack" / "conf"
    replace = node.replace_file

    def dies(target, *rest):
        if target == str(path):
            raise KeyboardInterrupt
        replace(target, *rest)

    monkeypatch.setattr(node, "replace_file", dies)
    with pytest.raises(KeyboardInterrupt):
        ship({path: b"x"}, reactions=[["restart", "docker"]])
    monkeypatch.setattr(node, "replace_file", replace)
    found = inspect([want(path, b"x")])
    assert found["pending"] == [["restart", "docker"]]
    assert found["differing"][0]["reason"] == "missing"


def test_a_torn_state_file_is_as_good_as_none(tmp_path):
    state = tmp_path / "state" / "state.json"
    state.parent.mkdir()
    state.write_text('{"files": [')
    assert node.read_state()["files"] == []


def test_a_secrets_folder_belongs_to_its_one_reader(tmp_path):
    path = tmp_path / "stack" / "kong" / "secrets" / "key"
    ship({path: b"x"})
    assert oct(path.parent.stat().st_mode & 0o777) == "0o500"


# ---------------------------------------------------------------- files shared with others


def shared(path, fragment):
    return {"path": str(path), "fragment": fragment, "sha256": "", "mode": "0644", **ME, "text": True}


def test_our_part_of_a_shared_file_leaves_the_keys_of_others_alone(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text('{"runtimes": {"nvidia": {}}}')
    ours = {"live-restore": True}
    assert inspect([shared(path, ours)])["differing"][0]["reason"] == "content"
    ship({path: json.dumps(ours).encode()}, fragments={path: ours})
    assert json.loads(path.read_text()) == {"runtimes": {"nvidia": {}}, "live-restore": True}
    assert inspect([shared(path, ours)])["differing"] == []


def test_a_key_we_no_longer_want_is_taken_out_of_the_shared_file(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text('{"theirs": 1}')
    first, second = {"a": 1, "b": 2}, {"a": 1}
    ship({path: json.dumps(first).encode()}, fragments={path: first})
    assert inspect([shared(path, second)])["differing"]
    ship({path: json.dumps(second).encode()}, fragments={path: second})
    assert json.loads(path.read_text()) == {"theirs": 1, "a": 1}


def test_a_shared_file_we_have_no_part_in_any_more_stays_without_our_keys(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text('{"theirs": 1}')
    ship({path: b'{"a": 1}'}, fragments={path: {"a": 1}})
    assert inspect([])["leftover"] == [str(path)]
    ship({}, remove=[str(path)])
    assert json.loads(path.read_text()) == {"theirs": 1}
    assert inspect([])["leftover"] == []


def test_keys_of_a_run_that_died_before_it_was_done_can_still_be_taken_out(tmp_path, monkeypatch):
    path = tmp_path / "stack" / "daemon.json"
    ship({path: b'{"a": 1}'}, fragments={path: {"a": 1}})
    replace = node.replace_file

    def dies_after(target, *rest):
        replace(target, *rest)
        if target == str(path):
            raise KeyboardInterrupt

    monkeypatch.setattr(node, "replace_file", dies_after)
    with pytest.raises(KeyboardInterrupt):
        ship({path: b'{"b": 1}'}, fragments={path: {"b": 1}})
    monkeypatch.setattr(node, "replace_file", replace)
    ship({path: b"{}"}, fragments={path: {}})
    assert json.loads(path.read_text()) == {}


def test_a_shared_file_that_is_not_json_is_not_overwritten(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text("# mine")
    with pytest.raises(node.RefusedError, match="not JSON"):
        ship({path: b"{}"}, fragments={path: {}})
    assert path.read_text() == "# mine"


# ---------------------------------------------------------------- containers


def test_what_somebody_runs_once_in_a_services_name_is_not_the_service(monkeypatch):
    asked: list[str] = []
    monkeypatch.setattr(node, "docker_get", asked.append)
    THE_REAL_PROJECT_CONTAINERS()
    filters = json.loads(parse_qs(asked[0].partition("?")[2])["filters"][0])
    assert filters == {"label": ["com.docker.compose.project=aicluster", "com.docker.compose.oneoff=False"]}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param(None, "missing", id="no container"),
        pytest.param({"digest": "other", "state": "running", "health": ""}, "changed", id="another digest"),
        pytest.param({"digest": "d", "state": "exited", "health": ""}, "exited", id="not running"),
        pytest.param({"digest": "d", "state": "running", "health": "unhealthy"}, "unhealthy", id="unhealthy"),
        pytest.param(
            {"digest": "d", "state": "running", "health": "starting"}, "starting", id="not yet well"
        ),
        pytest.param({"digest": "d", "state": "running", "health": ""}, None, id="as wanted"),
    ],
)
def test_a_container_deviates_for_one_reason(found, why):
    containers = {"kong": found} if found else {}
    deviating = node.deviating_containers({"kong": "d"}, containers)
    assert [item["why"] for item in deviating] == ([why] if why else [])


@contextmanager
def served(answer, address=("127.0.0.1", 0)):
    """A server for one request, on a socket's path or on a free port of the loopback."""
    server = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    server.bind(address)
    server.listen()

    def once():
        connection, _ = server.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=once)
    thread.start()
    with server:
        yield server.getsockname()
        thread.join(timeout=5)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        pytest.param(b'HTTP/1.0 200 OK\r\nA: b\r\n\r\n{"models": []}', {"models": []}, id="JSON"),
        pytest.param(b"HTTP/1.0 404 Not Found\r\n\r\n{}", None, id="a status other than 200"),
        pytest.param(b"HTTP/1.0 200 OK\r\n\r\n<html>", None, id="something that is not JSON"),
        pytest.param(b"", None, id="a connection closed without a word"),
    ],
)
def test_a_probe_is_the_json_of_a_good_answer_or_nothing(answer, value):
    with served(answer) as (host, port):
        assert node.probe(f"http://{host}:{port}/api/tags") == value


def test_a_probe_of_a_service_that_is_not_there_is_nothing():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert node.probe(f"http://127.0.0.1:{port}/") is None


def test_a_probe_of_a_file_is_its_text_and_empty_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert node.probe("~/.ssh/authorized_keys") == ""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/authorized_keys").write_text("ssh-ed25519 AAAA me\n")
    assert node.probe("~/.ssh/authorized_keys") == "ssh-ed25519 AAAA me\n"


def test_the_engine_is_asked_over_its_socket(tmp_path):
    path = str(tmp_path / "docker.sock")
    with served(b'HTTP/1.0 200 OK\r\n\r\n{"Version": "29.1"}', path):
        assert node.http_json(path, "/version") == {"Version": "29.1"}


def test_the_module_answers_whatever_ansible_puts_in_the_place_of_its_mark(tmp_path):
    path = tmp_path / 'a "quoted" \\ näme\n\'\'\'"""'
    path.write_bytes(b"x")
    request = {**QUESTION, "files": [want(path, b"y")]}
    arguments = json.dumps({"request": base64.b64encode(json.dumps(request).encode()).decode()})
    source = Path(node.__file__).read_text().replace("<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>", arguments)
    done = subprocess.run([sys.executable, "-"], input=source.encode(), capture_output=True, check=True)
    assert json.loads(done.stdout)["differing"] == [{"path": str(path), "reason": "content", "before": "x"}]


# --- modes: sets of services that run one at a time ---

MODES = {
    "containers": {"always": "d0", "chat": "d1", "paint": "d2"},
    "container_modes": {"chat": ["llm"], "paint": ["image"]},
    "mode": "llm",
}


@pytest.fixture
def running(monkeypatch):
    def are(**states):
        found = {
            name: {"digest": digest, "state": state, "health": ""} for name, (digest, state) in states.items()
        }
        monkeypatch.setattr(node, "project_containers", lambda: found)

    return are


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
        ship({tmp_path / "stack" / ".env": content.encode()})
    assert inspect([], **MODES)["mode"] == mode


def test_a_file_may_hold_any_content_that_is_accepted(tmp_path):
    path = tmp_path / "stack" / ".env"
    ship({path: b"image"})
    wanted = want(path, b"llm") | {"accept": [hashlib.sha256(b"image").hexdigest()]}
    assert inspect([wanted])["differing"] == []
    ship({path: b"garbage"})
    assert inspect([wanted])["differing"][0]["reason"] == "content"


def test_a_container_of_another_mode_shall_exist_and_not_run(running):
    running(always=("d0", "running"), chat=("d1", "running"), paint=("d2", "created"))
    found = inspect([], **MODES)
    assert (found["containers"], found["asleep"], found["restless"]) == ([], ["paint"], [])


def test_a_container_of_another_mode_that_runs_is_restless(running):
    running(always=("d0", "running"), chat=("d1", "running"), paint=("d2", "running"))
    assert inspect([], **MODES)["restless"] == ["paint"]


@pytest.mark.parametrize(
    ("paint", "why"),
    [({}, "missing"), ({"paint": ("old", "exited")}, "changed")],
    ids=["missing", "of older files"],
)
def test_a_container_of_another_mode_is_made_anew_like_any_other(running, paint, why):
    running(always=("d0", "running"), chat=("d1", "running"), **paint)
    assert inspect([], **MODES)["containers"] == [{"service": "paint", "why": why}]


def test_the_node_remembers_which_packages_were_not_there_before():
    inspect([], commit={}, installed=["jq"])
    inspect([], commit={}, installed=["curl"])
    assert node.read_state()["packages"] == ["curl", "jq"]


def test_what_is_known_of_a_sleeping_service_stays_known():
    inspect([], commit={"chat": "c1", "paint": "p1"})
    assert inspect([], commit={"chat": "c2", "paint": None})["provisioned"] == {"chat": "c2", "paint": "p1"}
    assert inspect([], commit={"chat": "c2"})["provisioned"] == {"chat": "c2"}


# --- units ---


@pytest.mark.parametrize(
    ("unit", "state", "deviates"),
    [
        pytest.param({}, "active", False, id="a unit that runs is as it should be"),
        pytest.param({}, "activating", True, id="a unit that is started again and again is not"),
        pytest.param({"waits": True}, "activating", False, id="one that waits for another node may be"),
        pytest.param({"waits": True}, "failed", True, id="but it may not have given up"),
        pytest.param({"waits": True}, "inactive", True, id="nor be stopped"),
    ],
)
def test_a_unit_is_as_it_should_be(monkeypatch, unit, state, deviates):
    shown = f"Id=a.service\nLoadState=loaded\nActiveState={state}\nUnitFileState=enabled\n"
    monkeypatch.setattr(node, "run", lambda _command: shown)
    found = node.deviating_units([{"name": "a", "enabled": True, **unit}])
    assert found == ([{"name": "a", "why": state}] if deviates else [])
