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
    # No engine: nothing of this machine's shows.
    monkeypatch.setattr(node, "DOCKER_SOCKET", str(tmp_path / "docker.sock"))
    monkeypatch.setattr(node, "DAEMON_FILE", str(tmp_path / "daemon.json"))
    monkeypatch.setattr(node, "LOGINS_FILE", str(tmp_path / "logins.json"))
    monkeypatch.setattr(node, "DOCKER_ROOT", str(tmp_path / "docker"))
    monkeypatch.setattr(node, "CONTAINERD_FILE", str(tmp_path / "containerd.toml"))
    monkeypatch.setattr(node, "LOCK_FILE", str(tmp_path / "lock"))
    monkeypatch.setattr(node, "DPKG_FOLDER", str(tmp_path / "dpkg"))
    (tmp_path / "dpkg" / "updates").mkdir(parents=True)
    for name in ("LC_ALL", "LANGUAGE"):
        monkeypatch.setenv(name, "C")  # so that what `answer` sets ends with the test
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
    checks = {"validations": {}, "compose_check": False, "checks": {}, "partial": False}
    return node.ship({**parameters, **checks, **changes})


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
    "images": {},
    "engine": {
        "files": ["/etc/docker/daemon.json"],
        "packages": ["docker-ce"],
        "unit": "docker",
        "programs": [],
    },
    "commit": None,
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


# ---------------------------------------------------------------- files that a container reads


def test_what_is_staged_has_the_owners_and_modes_that_the_containers_user_will_meet(tmp_path, monkeypatch):
    old, secret = (
        tmp_path / "stack" / "kong" / "compose.yaml",
        tmp_path / "stack" / "kong" / "secrets" / "kong.yml",
    )
    ship({old: b"x"})
    old.chmod(0o604)
    found: dict[str, Any] = {}

    def look(directory, _checks):
        staged = [Path(f"{directory}{path}") for path in (old, secret, secret.parent, old.parent)]
        found["modes"] = [oct(path.stat().st_mode & 0o777) for path in staged]
        found["owners"] = {path.stat().st_uid for path in staged}

    monkeypatch.setattr(node, "check_project", look)
    before = os.umask(0o077)
    try:
        ship({old: b"x", secret: b"key"}, archive=archive({secret: b"key"}), compose_check=True)
    finally:
        os.umask(before)
    assert found == {"modes": ["0o604", "0o640", "0o500", "0o755"], "owners": {ME["uid"]}}


DEFINITION = {
    "image": "kong:3.9.3",
    "user": "64101:0",
    "environment": {"KONG_DATABASE": "off"},
    "tmpfs": ["/run/kong:mode=0700"],
    "cap_drop": ["ALL"],
    "read_only": True,
    "mem_limit": "536870912",
    "command": ["serve"],
    "depends_on": {"redis": {}},
    "networks": {"default": None},
    "ports": [{"target": 8000}],
    "restart": "unless-stopped",
}


def test_a_checker_runs_like_its_service_but_alone_and_far_from_its_data():
    volumes = [
        {"type": "bind", "source": f"{node.STACK_ROOT}/kong/secrets", "target": "/kong/declarative"},
        {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        {"type": "bind", "source": "/run/docker.sock", "target": "/run/docker.sock"},
    ]
    made = node.checking({**DEFINITION, "volumes": volumes}, "/stage", "kong config parse 'a file'")
    assert made == {
        **{key: DEFINITION[key] for key in list(DEFINITION)[:7]},
        "entrypoint": ["kong", "config", "parse", "a file"],
        "command": [],
        "network_mode": "none",
        "pull_policy": "never",
        "logging": {"driver": "none"},
        "volumes": [
            {
                "type": "bind",
                "source": f"/stage{node.STACK_ROOT}/kong/secrets",
                "target": "/kong/declarative",
                "read_only": True,
            },
            {"type": "tmpfs", "target": "/data"},
        ],
    }


def test_a_checker_may_read_the_arguments_its_service_will_have():
    made = node.checking(
        {**DEFINITION, "command": ["-days=14d", "-path=/logs"]}, "/stage", "logs @arguments@ -v"
    )
    assert (made["entrypoint"], made["command"]) == (["logs", "-days=14d", "-path=/logs", "-v"], [])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("bad value\nusage", "bad value\nusage", id="little is shown whole"),
        pytest.param("a\nb\nc\nd\ne", "a\n[3 more lines]\ne", id="of much, the beginning and the end"),
    ],
)
def test_a_checker_that_says_much_is_not_quoted_whole(said, shown):
    assert node.both_ends(said, lines=1) == shown


# Compose and the programs in the images: what the last two say and how they end depends on the service.
DOCKER = """#!/bin/sh
case "$*" in
  *" config "*) echo '{"services": {"kong": {"image": "kong"}, "nginx": {"image": "nginx"}}}' ;;
  *" run "*kong) echo 'weight 70000 is too much'; exit 1 ;;
  *" run "*nginx) echo 'exec: "nginx": executable file not found in $PATH'; exit 127 ;;
  *" run "*slow) echo 'still reading'; exec sleep 60 ;;
esac
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """The node's Docker client."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("programs")
def test_all_that_programs_say_against_their_files_is_said_at_once_and_nothing_is_replaced(tmp_path):
    path = tmp_path / "stack" / "kong" / "kong.yml"
    ship({path: b"old"})
    checks = {
        "kong": {"command": "kong config parse /x", "files": [str(path)]},
        "nginx": {"command": "nginx -t", "files": ["/opt/aicluster/nginx/nginx.conf"]},
    }
    with pytest.raises(node.RefusedError) as refused:
        ship({path: b"new"}, compose_check=True, checks=checks)
    assert str(refused.value).splitlines() == [
        f"{path} of service kong was refused by `kong config parse /x` (rc 1): weight 70000 is too much",
        "/opt/aicluster/nginx/nginx.conf of service nginx was refused by `nginx -t` (rc 127): "
        'exec: "nginx": executable file not found in $PATH',
    ]
    assert path.read_bytes() == b"old"


@pytest.mark.usefixtures("programs")
def test_a_program_that_does_not_come_to_an_end_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "CHECK_TIMEOUT_S", 0.5)
    said = node.check_container("slow", {}, str(tmp_path), {"command": "slow", "files": ["/a"]})
    assert said == "/a of service slow was refused by `slow` (no end within 0 s): still reading"


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


@pytest.fixture
def _careful_root():
    """A umask that keeps everything from everyone else."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_careful_root")
def test_what_is_made_has_its_mode_whatever_the_umask_of_root(tmp_path):
    path, others = tmp_path / "stack" / "kong" / "conf" / "a", tmp_path / "etc" / "sysctl.d" / "b"
    request = {
        "phase": "ship",
        "files": [{"path": str(path), "fragment": None}, {"path": str(others), "fragment": None}],
        "archive": archive({path: b"x", others: b"x"}),
        **{"remove": [], "reactions": [], "validations": {}, "compose_check": False, "partial": False},
    }
    assert node.answer(request) == {"changed": True}
    made = [path.parent, path.parent.parent, tmp_path / "stack", tmp_path / "state", others.parent]
    assert {oct(folder.stat().st_mode & 0o777) for folder in made} == {"0o755"}
    assert {file.stat().st_mode & 0o777 for file in (path, others)} == {0o640}


@pytest.mark.parametrize("folder", ["stack", "stack/kong", "stack/kong/secrets"])
def test_a_folder_of_the_project_with_another_mode_is_found_and_mended(tmp_path, folder):
    path = tmp_path / "stack" / "kong" / "secrets" / "key"
    ship({path: b"x"})
    mode = (tmp_path / folder).stat().st_mode
    (tmp_path / folder).chmod(0o770)
    [difference] = inspect([want(path, b"x")])["differing"]
    assert difference["reason"] == f"mode 0770 of its folder {tmp_path / folder}"
    ship({path: b"x"})
    assert (tmp_path / folder).stat().st_mode == mode
    assert inspect([want(path, b"x")])["differing"] == []


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


def test_a_runtime_of_others_stays_beside_ours_and_comes_back_where_ours_hid_it(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    before = {"runtimes": {"kata": {"path": "kata"}, "nvidia": {"path": "theirs"}}, "log-driver": "json-file"}
    path.write_text(json.dumps(before))
    first = {"runtimes": {"nvidia": {"path": "ours"}}, "log-driver": "journald"}
    for ours in (first, {"log-driver": "local"}, first):
        ship({path: json.dumps(ours).encode()}, fragments={path: ours})
        assert inspect([shared(path, ours)])["differing"] == []
    assert json.loads(path.read_text())["runtimes"] == {"kata": {"path": "kata"}, "nvidia": {"path": "ours"}}
    ship({}, remove=[str(path)])
    assert json.loads(path.read_text()) == before


def test_what_was_there_before_is_known_from_the_first_run_on_however_often_one_is_cut_off(
    tmp_path, monkeypatch
):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text('{"a": "theirs"}')

    def cut_off_after(target, *rest):
        replace(target, *rest)
        if target == str(path):
            raise KeyboardInterrupt

    replace = node.replace_file
    for ours in ({"a": 1}, {"a": 2, "b": 1}, {"b": 2}):
        monkeypatch.setattr(node, "replace_file", cut_off_after)
        with pytest.raises(KeyboardInterrupt):
            ship({path: json.dumps(ours).encode()}, fragments={path: ours})
    monkeypatch.setattr(node, "replace_file", replace)
    ship({}, remove=[str(path)])
    assert json.loads(path.read_text()) == {"a": "theirs"}


def test_a_shared_file_of_an_earlier_version_is_still_known(tmp_path):
    path = tmp_path / "stack" / "daemon.json"
    path.parent.mkdir()
    path.write_text('{"a": 1, "runtimes": {"nvidia": {}}, "theirs": 2}')
    node.write_state({**node.read_state(), "fragments": {str(path): ["a", "runtimes"]}})
    ours = {"a": 2, "runtimes": {"nvidia": {"path": "ours"}}}
    assert inspect([shared(path, ours)])["differing"]
    ship({path: json.dumps(ours).encode()}, fragments={path: ours})
    ship({}, remove=[str(path)])
    assert json.loads(path.read_text()) == {"runtimes": {"nvidia": {}}, "theirs": 2}


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
    with pytest.raises(node.RefusedError, match=r"daemon.json: must be JSON.*mend it"):
        ship({path: b"{}"}, fragments={path: {}})
    assert path.read_text() == "# mine"


NVIDIA, KATA = {"nvidia": {"path": "nvidia-container-runtime"}}, {"kata": {"path": "kata-runtime"}}
OURS = {"live-restore": True, "runtimes": NVIDIA}


@pytest.mark.parametrize(
    "before",
    [
        pytest.param({}, id="an empty file"),
        pytest.param({"theirs": 1}, id="a key of others"),
        pytest.param({"live-restore": False}, id="a key of ours with another value"),
        pytest.param({"live-restore": True}, id="a key of ours with our value"),
        pytest.param({"runtimes": KATA}, id="another runtime"),
        pytest.param({"runtimes": {"nvidia": {"path": "/usr/bin/n", "runtimeArgs": []}}}, id="our runtime"),
        pytest.param({"runtimes": {**NVIDIA, **KATA}, "theirs": {}}, id="our runtime and another"),
        pytest.param({"runtimes": "x"}, id="a value where we want a mapping"),
    ],
)
def test_a_shared_file_is_afterwards_what_it_was_before_us(tmp_path, before):
    path = tmp_path / "daemon.json"
    path.write_text(json.dumps(node.laid_over(before, OURS)))
    path.chmod(0o644)
    notes = json.loads(json.dumps(node.hidden(before, OURS)))
    assert node.restored(json.loads(path.read_text()), notes) == before
    node.write_state(dict(node.read_state(), fragments={str(path): notes}))
    node.leave({})
    assert json.loads(path.read_text()) == before
    assert path.stat().st_mode & 0o777 == 0o644


def test_names_noted_by_an_earlier_version_are_taken_out_but_for_mappings():
    there = {"live-restore": True, "runtimes": NVIDIA, "theirs": 2}
    assert node.restored(there, ["live-restore", "runtimes"]) == {"runtimes": NVIDIA, "theirs": 2}


# ---------------------------------------------------------------- containers


def container(service: str, **changes: str) -> dict[str, str]:
    return {"id": f"{service}-1", "owner": service, "digest": "d", "state": "running", "health": ""} | changes


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
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_text("ssh-ed25519 AAAA me\n")
    keys.chmod(0o600)
    assert node.probe("~/.ssh/authorized_keys") == node.probe(str(keys)) == "ssh-ed25519 AAAA me\n"


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        pytest.param(lambda keys: keys.parent.chmod(0o755), "", id="the folder is open to others"),
        pytest.param(lambda keys: keys.chmod(0o644), "", id="the file is open to others"),
        pytest.param(lambda keys: os.chown(keys.parent, 4242, -1), "", id="the folder is another user's"),
        pytest.param(lambda keys: os.chown(keys, 4242, -1), "", id="the file is another user's"),
        pytest.param(lambda keys: keys.chmod(0o400), "line\n", id="what only the user may read is right"),
    ],
)
def test_a_file_of_a_user_that_is_not_the_users_alone_is_as_good_as_none(tmp_path, monkeypatch, spoil, found):
    monkeypatch.setenv("HOME", str(tmp_path))
    keys = tmp_path / ".ssh" / "authorized_keys"
    keys.parent.mkdir(mode=0o700)
    keys.write_text("line\n")
    keys.chmod(0o600)
    try:
        spoil(keys)
    except PermissionError:
        pytest.skip("only root can give files away")
    assert node.probe("~/.ssh/authorized_keys") == found


def test_a_probe_of_a_folder_is_what_in_it_not_everyone_may_read(tmp_path):
    root = tmp_path / "toolkit"
    for name in ("open/a", "open/b", "closed/c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / "link").symlink_to("/root/secret")
    assert node.probe(f"{root}/") == []
    (root / "open" / "b").chmod(0o600)
    (root / "closed").chmod(0o700)
    assert sorted(node.probe(f"{root}/")) == [str(root / "closed"), str(root / "open" / "b")]
    assert node.probe(f"{root}/not-there/") == []


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
    "images": {"always": "a:1", "chat": "c:1", "paint": "p:1"},
    "mode": "llm",
}


@pytest.fixture
def running(monkeypatch):
    def are(**states):
        found = {
            name: container(name, digest=digest, state=state) for name, (digest, state) in states.items()
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


@pytest.mark.parametrize("state", ["running", "restarting", "paused"])
def test_a_container_of_another_mode_that_nobody_stopped_is_restless(running, state):
    running(always=("d0", "running"), chat=("d1", "running"), paint=("d2", state))
    assert inspect([], **MODES)["restless"] == ["paint"]


@pytest.mark.parametrize(
    ("paint", "why"),
    [({}, "missing"), ({"paint": ("old", "exited")}, "changed")],
    ids=["missing", "of older files"],
)
def test_a_container_of_another_mode_is_made_anew_like_any_other(running, paint, why):
    running(always=("d0", "running"), chat=("d1", "running"), **paint)
    assert inspect([], **MODES)["containers"] == [{"service": "paint", "why": why}]


def test_the_node_remembers_which_packages_and_repositories_were_not_there_before(tmp_path, monkeypatch):
    sources = [str(tmp_path / "docker.sources"), str(tmp_path / "docker.asc")]
    monkeypatch.setattr(node, "run", lambda _command: "python3-debian installed\n")
    node.note({"packages": ["jq", "python3-debian"], "sources": sources[:1]})
    (tmp_path / "docker.asc").touch()
    node.note({"packages": ["curl"], "sources": sources})
    ship({})
    inspect([], commit={})
    state = node.read_state()
    assert (state["packages"], state["sources"]) == (["curl", "jq"], sources[:1])


@pytest.mark.parametrize(
    ("now", "known"),
    [
        pytest.param(
            {"sql": container("sql")}, {"sql": "s1", "host": "h1"}, id="the container that was provisioned"
        ),
        pytest.param(
            {"sql": container("sql", state="exited")}, {"sql": "s1", "host": "h1"}, id="the same, stopped"
        ),
        pytest.param({"sql": container("sql", id="sql-2")}, {"host": "h1"}, id="one that somebody made anew"),
        pytest.param({}, {"host": "h1"}, id="none, and a run that dies before it provisions the next"),
    ],
)
def test_provisioned_is_a_container_not_a_name(monkeypatch, now, known):
    monkeypatch.setattr(node, "project_containers", lambda: {"sql": container("sql")})
    inspect([], commit={"sql": "s1", "host": "h1"})
    monkeypatch.setattr(node, "project_containers", lambda: now)
    assert inspect([])["provisioned"] == known


def test_a_unit_that_no_longer_belongs_is_stopped_before_its_file_goes(tmp_path, monkeypatch):
    ran: list[list[str]] = []
    monkeypatch.setattr(node, "UNITS", str(tmp_path / "units"))
    monkeypatch.setattr(node, "run", ran.append)
    path, extension = tmp_path / "units" / "x.timer", tmp_path / "units" / "theirs.service.d" / "x.conf"
    ship({path: b"[Timer]", extension: b"[Service]"})
    ship({}, remove=[str(path), str(extension)])
    assert not path.exists() and not extension.exists()
    assert ran == [["systemctl", "disable", "--now", "x.timer"]]


def test_bytes_that_are_no_text_are_read_all_the_same(tmp_path):
    path = tmp_path / "authorized_keys"
    path.write_bytes(b"ssh-ed25519 AAAA J\xf6rg\n")
    assert node.probe(str(path)).startswith("ssh-ed25519 AAAA J")


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
        pytest.param({"boot": True}, "inactive", False, id="one that works at boot only need not run"),
    ],
)
def test_a_unit_is_as_it_should_be(monkeypatch, unit, state, deviates):
    shown = f"Id=a.service\nLoadState=loaded\nActiveState={state}\nUnitFileState=enabled\n"
    monkeypatch.setattr(node, "run", lambda _command: shown)
    found = node.deviating_units([{"name": "a", "enabled": True, **unit}])
    assert found == ([{"name": "a", "why": state}] if deviates else [])


# ---------------------------------------------------------------- what may stand in the way


@contextmanager
def an_engine(path, answers):
    """An engine on a socket's path: request path -> (status, JSON); anything else is not found."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    asked: list[str] = []

    def serve():
        while True:
            connection, _ = server.accept()
            with connection:
                request = connection.recv(4096).decode()
                if not request:
                    return
                asked.append(request)
                status, body = answers.get(request.split()[1], (404, {"message": "no such thing"}))
                head = (
                    f"HTTP/1.0 {status} x\r\nApi-Version: 1.41\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n"
                )
                connection.sendall(f"{head}\r\n{json.dumps(body)}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join(timeout=5)
        server.close()


PING: dict[str, Any] = {"/info": (200, {"Driver": "overlay2"})}
HERE: dict[str, Any] = {"/images/redis:8.10.1/json": (200, {})}
MISSING = {"containers": {"redis": "d"}, "images": {"redis": "redis:8.10.1"}}


def test_the_engine_names_its_version_and_api_in_the_headers_of_any_answer(tmp_path):
    with an_engine(tmp_path / "docker.sock", PING):
        assert node.engine() == ({"version": "20.10.24+dfsg1", "api": "1.41"}, {"Driver": "overlay2"})


def test_a_node_without_an_engine_has_no_version_of_it():
    assert node.engine() == ({"version": "", "api": ""}, {})


def test_nothing_is_asked_of_engine_or_registry_where_no_container_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "compose_version", lambda: pytest.fail("half a second of a small board"))
    monkeypatch.setattr(node, "project_containers", lambda: {"redis": container("redis")})
    with an_engine(tmp_path / "docker.sock", PING) as asked:
        found = inspect([], **MISSING)["obstacles"]
    assert (found["images"], found["compose"]) == ({}, None)
    assert [request.split()[1] for request in asked if request] == ["/info"]


def test_an_image_that_is_on_the_node_is_not_asked_for(tmp_path):
    with an_engine(tmp_path / "docker.sock", PING | HERE):
        assert inspect([], **MISSING)["obstacles"]["images"] == {}


def test_the_registry_of_a_missing_image_is_asked_without_a_download(tmp_path):
    said = {"Platforms": [{"os": "linux", "architecture": "arm64"}]}
    answers = PING | {"/distribution/redis:8.10.1/json": (200, said)}
    with an_engine(tmp_path / "docker.sock", answers) as asked:
        found = inspect([], **MISSING)["obstacles"]["images"]
    assert found == {"redis:8.10.1": {"status": 200, "message": "", "platforms": ["linux/arm64"]}}
    assert not [request for request in asked if request.startswith("POST")]


@pytest.mark.parametrize(
    ("changes", "before"),
    [
        pytest.param({"packages": ["docker-ce"]}, {}, id="it is still to be installed"),
        pytest.param({"units": [{"name": "docker"}]}, {}, id="it does not run"),
        pytest.param({}, {"pending": [["restart", "docker"]]}, id="it still has to be restarted"),
    ],
)
def test_an_engine_that_is_not_as_wanted_is_not_asked_about_registries(
    tmp_path, monkeypatch, changes, before
):
    monkeypatch.setattr(node, "run", lambda _command: "")
    node.write_state({**node.read_state(), **before})
    with an_engine(tmp_path / "docker.sock", PING) as asked:
        found = inspect([], **MISSING, **changes)["obstacles"]
    assert found["images"] == {"redis:8.10.1": None}
    assert found["engine"]["ready"] is False
    assert not [request for request in asked if "/distribution/" in request]


def test_an_engine_whose_own_file_differs_is_not_asked_about_registries(tmp_path):
    path = tmp_path / "daemon"
    engine = {**QUESTION["engine"], "files": [str(path)]}
    with an_engine(tmp_path / "docker.sock", PING):
        found = inspect([want(path, b"x")], **MISSING, engine=engine)["obstacles"]
    assert found["images"] == {"redis:8.10.1": None}


def test_a_registry_that_does_not_answer_is_asked_once(tmp_path):
    images = ["gone:5000/a:1", "gone:5000/b:1"]
    error = (500, {"message": "dial tcp: connection refused"})
    answers = {f"/distribution/{image}/json": error for image in images}
    with an_engine(tmp_path / "docker.sock", answers) as asked:
        found = node.missing_images(images, True)
    assert [answer["message"] for answer in found.values()] == ["dial tcp: connection refused"] * 2
    assert len([request for request in asked if "/distribution/" in request]) == 1


def test_the_login_of_root_is_shown_to_the_registry_it_is_for(tmp_path):
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "logins.json").write_text(json.dumps({"auths": {"ghcr.io": {"auth": auth}}}))
    with an_engine(tmp_path / "docker.sock", {}) as asked:
        node.ask_registry("ghcr.io/a/b:1")
        node.ask_registry("redis:8")
    with_login, without = [request for request in asked if request]
    shown = with_login.partition("X-Registry-Auth: ")[2].split()[0]
    assert json.loads(base64.urlsafe_b64decode(shown)) == {
        "username": "me",
        "password": "secret",
        "serveraddress": "ghcr.io",
    }
    assert "X-Registry-Auth" not in without


@pytest.mark.parametrize(
    ("file", "content"),
    [
        pytest.param("logins.json", {"credsStore": "pass"}, id="a helper program keeps the logins"),
        pytest.param(
            "daemon.json", {"registry-mirrors": ["http://m"]}, id="a mirror takes part in pulls only"
        ),
    ],
)
def test_what_a_question_cannot_tell_is_left_to_the_pull(tmp_path, file, content):
    (tmp_path / file).write_text(json.dumps(content))
    assert node.ask_registry("redis:8")["status"] is None


V1_ON = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t125\t1\nmemory\t4\t211\t1\n"


@pytest.mark.parametrize(
    ("v2", "v1", "on"),
    [
        pytest.param("cpuset cpu io memory pids\n", None, True, id="version 2 with it"),
        pytest.param("cpuset cpu io pids\n", None, False, id="version 2 without it: Raspberry Pi OS"),
        pytest.param("cpu pids\n", V1_ON, False, id="version 2 counts where both are"),
        pytest.param(None, V1_ON, True, id="version 1, also in a container: the lab"),
        pytest.param(None, V1_ON.replace("211\t1", "1\t0"), False, id="version 1, switched off"),
        pytest.param(None, "#subsys_name\ncpu\t1\t1\t1\n", False, id="version 1, not in the kernel"),
        pytest.param(None, None, None, id="no cgroups to be seen: it cannot be told"),
    ],
)
def test_whether_the_kernel_counts_memory_per_container(tmp_path, monkeypatch, v2, v1, on):
    for name, text in (("CGROUPS_V2", v2), ("CGROUPS_V1", v1)):
        path = tmp_path / name
        monkeypatch.setattr(node, name, str(path))
        if text is not None:
            path.write_text(text)
    assert node.memory_cgroup()["on"] is on


def test_a_memory_cgroup_that_is_off_comes_with_the_file_to_mend(tmp_path, monkeypatch):
    for name in ("CGROUPS_V2", "KERNEL_ARGUMENTS", "cmdline.txt"):
        (tmp_path / name).write_text("cgroup_disable=memory quiet\n")
        if name.isupper():
            monkeypatch.setattr(node, name, str(tmp_path / name))
    there = str(tmp_path / "cmdline.txt")
    monkeypatch.setattr(node, "BOOT_FILES", (str(tmp_path / "none"), there))
    found = node.memory_cgroup()
    assert found["cmdline"] == there
    assert "started with cgroup_disable=memory" in found["evidence"]


@pytest.mark.parametrize(
    ("line", "release"),
    [
        ("# R32 (release), REVISION: 7.6, GCID: 38171779, BOARD: t210ref, EABI: aarch64, DATE: x", "32.7.6"),
        ("# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, EABI: aarch64, DATE: x", "36.4.7"),
        ("# R39 (release), REVISION: 2.1\n# KERNEL_VARIANT: oot\n", "39.2.1"),
        ("# R36 (release)\n", ""),
        (None, ""),
    ],
    ids=["JetPack 4", "JetPack 6", "JetPack 7, with more lines", "no revision", "no Jetson"],
)
def test_the_release_of_a_jetsons_system_is_read_from_its_first_line(tmp_path, monkeypatch, line, release):
    monkeypatch.setattr(node, "L4T_FILE", str(tmp_path / "nv_tegra_release"))
    if line is not None:
        (tmp_path / "nv_tegra_release").write_text(line)
    assert node.l4t() == release


@pytest.mark.parametrize(("release", "held"), [("", []), ("36.4.3", ["docker-ce"])], ids=["else", "a Jetson"])
def test_held_packages_are_asked_of_a_jetson_alone(monkeypatch, release, held):
    monkeypatch.setattr(node, "run", lambda _command: "docker-ce hold\ndocker.io install\n")
    monkeypatch.setattr(node, "l4t", lambda: release)
    assert node.board([])["held"] == held


def test_a_board_is_described_by_what_its_system_shows(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "MEMORY_FILE", str(tmp_path / "meminfo"))
    (tmp_path / "meminfo").write_text("MemTotal:        1893688 kB\nMemFree:          100 kB\n")
    found = node.board([])
    assert (found["memory_mb"], found["bits"], found["machine"]) == (1849, 64, os.uname().machine)
    (tmp_path / "meminfo").unlink()
    assert node.board([])["memory_mb"] is None


def test_the_program_of_a_runtime_is_looked_for_where_the_engine_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, mode in (("there", 0o755), ("no-program", 0o644)):
        (tmp_path / name).write_text("")
        (tmp_path / name).chmod(mode)
    programs = ["there", "no-program", "gone", "env", str(tmp_path / "there"), "/opt/gone"]
    assert node.board(programs)["absent"] == ["no-program", "gone", "/opt/gone"]


def test_a_disk_is_that_of_the_folder_that_will_be_made(tmp_path):
    there = node.disk(str(tmp_path), False)
    later = node.disk(str(tmp_path / "not" / "yet"), True)
    assert later["device"] == there["device"]
    assert 0 < later["free_mb"] <= later["size_mb"]


@pytest.mark.parametrize(
    ("path", "mount"),
    [
        pytest.param("data/docker", "/data", id="a folder on a disk of its own"),
        pytest.param("link/docker", "/data", id="a folder behind a link to another disk"),
        pytest.param("later/docker", "/data", id="a folder behind a link to what is not made yet"),
        pytest.param("docker", "", id="a folder on the disk around it"),
    ],
)
def test_the_file_system_of_a_folder_is_the_one_its_links_lead_to(tmp_path, monkeypatch, path, mount):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    (tmp_path / "later").symlink_to(tmp_path / "data" / "later")
    mounts = [str(tmp_path), str(tmp_path / "data")]
    monkeypatch.setattr(node.os.path, "ismount", mounts.__contains__)
    found = node.disk(str(tmp_path / path), True)
    assert (found["path"], found["mount"]) == (str(tmp_path / path), f"{tmp_path}{mount}")


SNAPSHOTTER = [["driver-type", "io.containerd.snapshotter.v1"]]
MANAGED = {"Address": "/var/run/docker/containerd/containerd.sock"}


@pytest.mark.parametrize(
    ("info", "toml", "path"),
    [
        pytest.param(
            {"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]]},
            "",
            "/docker/overlay2",
            id="the engine's own store is in its folder",
        ),
        pytest.param(
            {"Driver": "overlayfs", "DriverStatus": SNAPSHOTTER},
            "",
            "/var/lib/containerd",
            id="containerd's store is where containerd has its data, wherever the engine's lies",
        ),
        pytest.param(
            {"Driver": "overlayfs", "DriverStatus": SNAPSHOTTER},
            'version = 2\n  root = "/data/containerd"\n[plugins]\nroot = "/no"\n',
            "/data/containerd",
            id="which its own file may move",
        ),
        pytest.param(
            {"Driver": "overlayfs", "DriverStatus": SNAPSHOTTER},
            "[plugins]\nroot = '/no'\n",
            "/var/lib/containerd",
            id="but not a plugin's part of that file",
        ),
        pytest.param(
            {"Driver": "overlayfs", "DriverStatus": SNAPSHOTTER, "Containerd": MANAGED},
            "",
            "/docker/containerd",
            id="a containerd that the engine starts has its data in the engine's folder",
        ),
        pytest.param({}, "", "/var/lib/containerd", id="an engine that does not answer may use either"),
    ],
)
def test_images_are_where_the_engine_says(tmp_path, info, toml, path):
    (tmp_path / "containerd.toml").write_text(toml)
    assert node.image_root(info, "/docker") == path


def test_images_and_volumes_are_named_where_they_have_a_file_system_of_their_own(monkeypatch):
    devices = {"/": 1, node.STACK_ROOT: 1, "/d": 2, "/d/volumes": 3, "/var/lib/containerd": 1}

    def on(path, docker):
        return {"path": path, "device": devices[path], "docker": docker}

    monkeypatch.setattr(node, "disk", on)
    info = {"DockerRootDir": "/d", "Driver": "overlayfs", "DriverStatus": SNAPSHOTTER}
    assert [(one["path"], one["docker"]) for one in node.disks(info)] == [
        ("/", False),
        (node.STACK_ROOT, False),
        ("/d", True),
        ("/d/volumes", True),
    ]
    devices.update({"/d/volumes": 2, "/var/lib/containerd": 4})
    assert [one["path"] for one in node.disks(info)][2:] == ["/d", "/var/lib/containerd"]


def test_docker_keeps_its_data_where_it_says_and_when_silent_where_its_file_says(tmp_path):
    assert node.docker_root({}) == str(tmp_path / "docker")
    (tmp_path / "daemon.json").write_text('{"data-root": "/mnt/nvme/docker"}')
    assert node.docker_root({}) == "/mnt/nvme/docker"
    assert node.docker_root({"DockerRootDir": "/by/a/flag"}) == "/by/a/flag"
    (tmp_path / "daemon.json").write_text("# broken")
    assert node.docker_root({}) == str(tmp_path / "docker")


@pytest.mark.parametrize(
    ("info", "text", "found"),
    [
        pytest.param(
            {"DockerRootDir": "/d/1.2", "Driver": "overlay2", "SecurityOptions": ["name=seccomp"]},
            "{}",
            {"root": "/d/1.2", "driver": "overlay2", "in_containerd": False, "remapped": False},
            id="an engine with its own store",
        ),
        pytest.param(
            {"DockerRootDir": "/d/231072.231072", "Driver": "overlay2", "SecurityOptions": ["name=userns"]},
            "{}",
            {"root": "/d", "driver": "overlay2", "in_containerd": False, "remapped": True},
            id="an engine that remaps users, and has a folder of its own for them",
        ),
        pytest.param(
            {
                "DockerRootDir": "/d",
                "Driver": "overlayfs",
                "DriverStatus": SNAPSHOTTER,
                "SecurityOptions": None,
            },
            "{}",
            {"root": "/d", "driver": "overlayfs", "in_containerd": True, "remapped": False},
            id="an engine with containerd's store",
        ),
        pytest.param(
            {},
            '{"data-root": "/e"}',
            {"root_to_come": "/e", "driver": None, "in_containerd": None, "remapped": None},
            id="an engine that does not answer",
        ),
        pytest.param(
            {}, '{"graph": "/e"}', {"root_to_come": "/e"}, id="a file with the old name of the folder"
        ),
        pytest.param({}, "{", {}, id="a file that is none"),
    ],
)
def test_what_an_engine_keeps_its_data_with_is_what_it_says(tmp_path, info, text, found):
    folder = str(tmp_path / "docker")
    nothing = {"root": folder, "root_to_come": folder}
    assert node.store(info, text) == {**node.store({}, "{}"), **nothing, **found}


def test_a_link_to_the_folder_of_the_engine_is_the_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "docker")
    found = node.store({"DockerRootDir": str(tmp_path / "docker")}, f'{{"data-root": "{tmp_path}/link"}}')
    assert found["root"] == found["root_to_come"]


def test_volumes_of_the_project_are_known_without_an_engine(tmp_path):
    for name in ("aicluster_redis_data", "somebody_else"):
        (tmp_path / "docker" / "volumes" / name).mkdir(parents=True)
    assert inspect([])["obstacles"]["volumes"] == ["redis_data"]


def test_images_are_pulled_and_what_the_engine_says_of_the_others_is_returned(tmp_path, monkeypatch):
    client = tmp_path / "docker"
    client.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = compose ]; then echo 2.26.1; exit; fi\n'
        'case "$3" in (gone*) echo "Error response from daemon: manifest unknown" >&2; exit 1;; esac\n'
    )
    client.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pulled = node.fetch({"images": ["here:1", "gone:1"]})
    assert pulled["changed"] is True
    assert pulled["compose"] == "2.26.1"
    assert pulled["images"]["here:1"]["status"] == 200
    assert pulled["images"]["gone:1"]["message"] == "manifest unknown"


def test_an_image_that_an_engine_has_once_it_runs_is_not_pulled(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "compose_version", lambda: "2.26.1")
    monkeypatch.setattr(node, "pull", lambda image: {"status": 200, "message": image, "platforms": []})
    before = inspect([], **MISSING)["obstacles"]["images"]
    with an_engine(tmp_path / "docker.sock", PING | HERE):
        fetched = node.fetch({"images": [*before, "nginx:1"]})
    assert (list(before), list(fetched["images"])) == (["redis:8.10.1"], ["nginx:1"])


def test_a_part_that_is_shipped_first_leaves_what_is_known_of_the_rest(tmp_path):
    rest, first = tmp_path / "stack" / "conf", tmp_path / "daemon"
    ship({rest: b"x"})
    ship({first: b"y"}, partial=True)
    assert sorted(node.read_state()["files"]) == sorted([str(rest), str(first)])
    assert inspect([want(first, b"y"), want(rest, b"x")])["leftover"] == []


# ---------------------------------------------------------------- packages


@contextmanager
def held(path):
    """Another process holds a lock of dpkg's kind on a file."""
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}; sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        yield
        process.stdin.close()


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        pytest.param("curl installed\ncurl config-files\n", [], id="another architecture was removed"),
        pytest.param("curl config-files\ncurl installed\n", [], id="another one is listed first"),
        pytest.param("curl config-files\ncurl not-installed\n", ["curl"], id="none is installed"),
        pytest.param("curl unpacked\n", ["curl"], id="it is half there"),
    ],
)
def test_a_package_is_there_when_one_of_its_architectures_is(monkeypatch, said, missing):
    monkeypatch.setattr(node, "run", lambda _command: said)
    assert inspect([], packages=["curl"])["packages"] == missing


@pytest.mark.parametrize(
    ("said", "updates", "found"),
    [
        pytest.param("jq installed\nold config-files\n", [], [], id="all is done"),
        pytest.param(
            "jq half-configured\ncurl unpacked\nsudo installed\n",
            ["0001"],
            [{"name": "curl", "why": "unpacked"}, {"name": "jq", "why": "half-configured"}],
            id="packages are half there, wanted or not",
        ),
        pytest.param(
            "jq installed\n",
            ["0003", "tmp.i"],
            [{"name": "dpkg", "why": "was cut off"}],
            id="dpkg has not told its database yet",
        ),
        pytest.param("jq installed\n", ["tmp.i"], [], id="a scratch file is no work"),
    ],
)
def test_what_a_dpkg_that_was_killed_left_behind_is_found(tmp_path, monkeypatch, said, updates, found):
    monkeypatch.setattr(node, "run", lambda _command: said)
    for name in updates:
        (tmp_path / "dpkg" / "updates" / name).touch()
    assert inspect([], packages=["sudo"])["unfinished"] == found


def test_packages_another_dpkg_is_at_work_on_are_not_unfinished(tmp_path, monkeypatch):
    monkeypatch.setattr(node, "run", lambda _command: "jq unpacked\n")
    lock = tmp_path / "dpkg" / "lock-frontend"
    with held(lock):
        assert inspect([], packages=["jq"])["unfinished"] == []
    assert lock.exists()
    assert inspect([], packages=["jq"])["unfinished"] == [{"name": "jq", "why": "unpacked"}]


# ---------------------------------------------------------------- one run at a time

ANNA = {"run": "laptop 1 100 5", "who": "anna@laptop", "pid": 100, "play": "site.yml"}
PI31 = {"run": "pi31 2 200 6", "who": "aicluster@pi31", "pid": 200, "play": "edge.yml"}


def ask(phase, run, **more):
    return node.answer({**more, "phase": phase, "run": run})


def test_programs_of_a_node_speak_english_whatever_its_language(monkeypatch):
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")
    ask("take", ANNA)
    assert node.run(["sh", "-c", "echo $LC_ALL $LANGUAGE"]) == "C C\n"


def test_a_node_is_held_by_one_run_at_a_time():
    assert ask("take", ANNA) == {"changed": False}
    refused = ask("reacted", PI31, reactions=[])
    assert refused["failed"] is True
    assert {key: refused["taken"][key] for key in ANNA} == ANNA
    assert refused["taken"]["since"].endswith(" UTC")
    assert ask("reacted", ANNA, reactions=[]) == {"changed": False}, "its own run goes on"


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda: ask("release", ANNA), id="is released"),
        pytest.param(lambda: node.answer({**QUESTION, "commit": {}, "run": ANNA}), id="is committed"),
        pytest.param(lambda: Path(node.LOCK_FILE).unlink(), id="has no lock any more, as after a boot"),
        pytest.param(
            lambda: Path(node.LOCK_FILE).write_text('{"run": "lap'), id="was killed while it wrote the lock"
        ),
    ],
)
def test_a_node_is_free_when_its_run(end):
    ask("take", ANNA)
    end()
    assert ask("take", PI31) == {"changed": False}


def test_a_run_that_is_refused_lets_the_node_go(tmp_path):
    path = tmp_path / "stack" / "conf"
    parameters = {"files": [{"path": str(path), "fragment": None}], "archive": archive({path: b"x"})}
    checks = {"validations": {str(path): "false %s"}, "compose_check": False, "partial": False}
    assert ask("ship", ANNA, **parameters, **checks, remove=[], reactions=[])["failed"] is True
    assert ask("take", PI31) == {"changed": False}


def test_a_dead_run_is_taken_over_by_name_only():
    ask("take", ANNA)
    assert "taken" in ask("take", PI31, over="somebody else")
    assert ask("take", PI31, over=ANNA["run"]) == {"changed": False}
    assert "taken" in ask("take", ANNA), "and does not come back"


@pytest.mark.parametrize(
    ("passed_s", "free"),
    [
        pytest.param(node.SILENT_S - 60, False, id="not yet"),
        pytest.param(node.SILENT_S + 60, True, id="after two hours"),
        pytest.param(-60, True, id="when the machine has started anew under a lock that stayed"),
    ],
)
def test_a_silent_run_is_taken_over(monkeypatch, passed_s, free):
    now = node.time.monotonic()
    ask("take", ANNA)
    monkeypatch.setattr(node.time, "monotonic", lambda: now + passed_s)
    assert ("taken" not in ask("take", PI31)) is free


def test_each_phase_of_a_run_shows_that_it_lives(monkeypatch):
    now = node.time.monotonic()
    ask("take", ANNA)
    since = json.loads(Path(node.LOCK_FILE).read_text())["since"]
    monkeypatch.setattr(node.time, "monotonic", lambda: now + node.SILENT_S - 1)
    ask("reacted", ANNA, reactions=[])
    monkeypatch.setattr(node.time, "monotonic", lambda: now + node.SILENT_S + 9)
    holder = ask("take", PI31)["taken"]
    assert (holder["silent_s"], holder["since"]) == (10, since)


def test_a_question_holds_nothing():
    ask("take", ANNA)
    assert "taken" not in node.answer(QUESTION)


# ---------------------------------------------------------------- an engine that runs goes on running


@pytest.fixture
def dockerd(tmp_path, monkeypatch):
    """A program that judges as dockerd does, and what systemd shows of the engine's unit."""

    def make(verdict, flags="", environment="", text=""):
        program = tmp_path / "dockerd"
        program.write_text(f"#!/bin/sh\n{verdict}\n")
        program.chmod(0o755)
        (tmp_path / "default").write_text(text)
        shown = (
            f"ExecStart={{ path={program} ; argv[]={program} -H fd://{flags} ; ignore_errors=no ; pid=0 }}\n"
            f"Environment={environment}\nEnvironmentFiles={tmp_path}/default (ignore_errors=yes)\n"
        )
        monkeypatch.setattr(node, "run", lambda command: shown if command[0] == "systemctl" else "")
        return [str(program), "-H", "fd://"]

    return make


@pytest.mark.parametrize(
    ("flags", "environment", "text", "words"),
    [
        pytest.param("", "", "", [], id="those of the unit"),
        pytest.param(
            " $OPTS",
            "",
            "# Docker's own\nOPTS='-D --log-driver json-file'\n",
            ["-D", "--log-driver", "json-file"],
            id="those of its environment file",
        ),
        pytest.param(" $OPTS", '"OPTS=-D -l warn"', "", ["-D", "-l", "warn"], id="those of a drop-in"),
        pytest.param(" $OPTS --group=${WHO}", "WHO=me OPTS=-D", "OPTS=", ["--group=me"], id="the file last"),
    ],
)
def test_the_engine_is_known_by_the_flags_systemd_starts_it_with(dockerd, flags, environment, text, words):
    known = dockerd("exit 0", flags, environment, text)
    assert node.engine_command() == known + words


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        pytest.param('echo "configuration OK" >&2', "", id="one it takes"),
        pytest.param(
            'echo "$*: $(cat)"; exit 1', "-H fd:// --validate --config-file /dev/stdin: {}", id="one not"
        ),
        pytest.param('echo "Status: unknown flag: --validate"; exit 125', None, id="one it cannot judge"),
    ],
)
def test_the_engine_judges_a_file_with_its_own_flags(dockerd, verdict, said):
    assert node.engine_said(dockerd(verdict), "{}") == said


def test_a_program_that_is_not_dockerd_is_not_started(tmp_path):
    assert node.engine_said(["/bin/sh", "-c", f"touch {tmp_path}/ran"], "{}") is None
    assert not (tmp_path / "ran").exists()
    assert node.engine_said([], "{}") is None


def test_the_file_to_come_is_looked_at_before_it_is_there(tmp_path, dockerd):
    path = tmp_path / "daemon.json"
    path.write_text('{"data-root": "/d"}')
    dockerd("cat; exit 1")
    found = inspect([shared(path, {"live-restore": True})])["obstacles"]["starting"]
    assert found["file"] == json.loads(found["said"]) == {"data-root": "/d", "live-restore": True}
    assert (found["swarm"], found["containers"]) == (False, False)
    assert found["store"]["root_to_come"] == "/d"


def test_a_file_that_waits_for_its_restart_is_looked_at_too(tmp_path, dockerd):
    (tmp_path / "daemon.json").write_text('{"debug": true}')
    (tmp_path / "docker" / "swarm").mkdir(parents=True)
    (tmp_path / "docker" / "swarm" / "docker-state.json").touch()
    dockerd("exit 0")
    assert inspect([])["obstacles"]["starting"] is None
    node.write_state({**node.read_state(), "pending": [["restart", "docker"]]})
    found = inspect([])["obstacles"]["starting"]
    assert (found["file"], found["said"], found["swarm"]) == ({"debug": True}, "", True)


@pytest.fixture
def systemctl(monkeypatch):
    """An engine that systemd says is down, or back once it was started."""
    ran: list[list[str]] = []

    def make(comes_back):
        def run(command):
            ran.append(command)
            started = ["systemctl", "start", "docker"] in ran
            return "active\n" if "is-active" in command and started and comes_back else "failed\n"

        monkeypatch.setattr(node, "run", run)
        return ran

    return make


@pytest.mark.parametrize(
    "phase",
    [
        pytest.param(
            lambda: ship({}, reactions=[["restart", "docker"], ["reload", "ssh"]]), id="before a restart"
        ),
        pytest.param(lambda: node.leave({}), id="before a cleanup restarts it"),
    ],
)
def test_an_engine_that_was_restarted_often_is_restarted_again(systemctl, phase):
    ran = systemctl(True)
    phase()
    assert [command for command in ran if "reset-failed" in command] == [
        ["systemctl", "reset-failed", "docker.service", "docker.socket"]
    ]


def test_a_timer_has_no_service_of_its_name(systemctl):
    ran = systemctl(True)
    node.forget_starts(["a.timer"])
    assert ran == [["systemctl", "reset-failed", "a.timer"]]


@pytest.mark.parametrize(
    ("comes_back", "said"),
    [(True, "the engine runs with it."), (False, "the engine does not start with it either.")],
    ids=["runs", "does not"],
)
def test_an_engine_that_does_not_start_any_more_gets_back_its_file(tmp_path, systemctl, comes_back, said):
    path, ours = tmp_path / "daemon.json", {"live-restore": True}
    path.write_text('{"theirs": 1}')
    path.chmod(0o600)
    restart = [["restart", "docker"], ["reload", "ssh"]]
    ship({path: b"{}"}, fragments={path: ours}, reactions=restart)
    # A run that was killed, and the next one.
    ship({path: b"{}"}, fragments={path: {**ours, "debug": True}}, reactions=restart)
    ran = systemctl(comes_back)
    assert node.release({}) == {
        "changed": True,
        "engine": f"{path} is again what it was before this run; {said}",
    }
    assert (path.read_text(), path.stat().st_mode & 0o777) == ('{"theirs": 1}', 0o600)
    assert ["systemctl", "reset-failed", "docker.service", "docker.socket"] in ran
    state = node.read_state()
    assert (state["pending"], state["fragments"], state["engine"]) == (
        [["reload", "ssh"]],
        {str(path): []},
        None,
    )
    assert node.release({})["changed"] is False, "once"


def test_a_file_that_was_not_there_before_goes_again(tmp_path, systemctl):
    path = tmp_path / "daemon.json"
    ship({path: b"{}"}, fragments={path: {"debug": True}}, reactions=[["restart", "docker"]])
    systemctl(comes_back=True)
    assert node.release({})["changed"] is True
    assert not path.exists()


@pytest.mark.parametrize(
    "done",
    [
        pytest.param(lambda: node.reacted({"reactions": [["restart", "docker"]]}), id="it was restarted"),
        pytest.param(lambda: inspect([], commit={}), id="the run has ended well"),
    ],
)
def test_the_file_of_an_engine_that_runs_with_it_stays(tmp_path, systemctl, done):
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    ship({path: b"{}"}, fragments={path: {"debug": True}}, reactions=[["restart", "docker"]])
    done()
    systemctl(comes_back=False)
    assert node.release({}) == {"changed": False, "engine": ""}
    assert json.loads(path.read_text()) == {"debug": True}
