"""Files are checked before they are put in place, also by the programs in the containers that read them."""

import os
from pathlib import Path
from typing import Any

import pytest
from aicluster_node import staging, system
from node_half import ME, archive, deliver

pytestmark = pytest.mark.usefixtures("own_node")


def test_a_checker_sees_the_new_file_and_if_it_refuses_nothing_is_replaced(tmp_path):
    good, bad = tmp_path / "stack" / "good", tmp_path / "stack" / "bad"
    deliver({good: b"old", bad: b"old"})
    with pytest.raises(system.RefusedError, match="bad was refused by `grep`"):
        deliver({good: b"new", bad: b"new"}, validations={str(bad): "grep -q old %s"})
    assert good.read_bytes() == bad.read_bytes() == b"old"


def test_what_others_keep_below_the_project_is_not_staged(tmp_path):
    dump = tmp_path / "stack" / "dump.sql"
    dump.parent.mkdir()
    dump.write_bytes(b"large")
    path = tmp_path / "stack" / "conf"
    alone = 'sh -c \'test "$(ls "$(dirname "$1")")" = conf\' sh %s'
    deliver({path: b"x"}, validations={str(path): alone})
    assert dump.exists()


def test_what_is_staged_has_the_owners_and_modes_that_the_containers_user_will_meet(tmp_path, monkeypatch):
    folder = tmp_path / "stack" / "kong"
    old, secret = folder / "compose.yaml", folder / "secrets" / "kong.yml"
    deliver({old: b"x"})
    old.chmod(0o604)
    found: dict[str, Any] = {}

    def look(directory, _checks):
        staged = [Path(f"{directory}{path}") for path in (old, secret, secret.parent, folder)]
        found["modes"] = [oct(path.stat().st_mode & 0o777) for path in staged]
        found["owners"] = {path.stat().st_uid for path in staged}

    monkeypatch.setattr(staging, "check_project", look)
    deliver({old: b"x", secret: b"key"}, archive=archive({secret: b"key"}), compose_check=True)
    assert found == {"modes": ["0o604", "0o640", "0o500", "0o755"], "owners": {ME["uid"]}}


# --- checkers in containers ---

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
    staged = {
        "type": "bind",
        "source": f"{system.STACK_ROOT}/kong/secrets",
        "target": "/kong/declarative",
    }
    volumes = [
        staged,
        {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        {"type": "bind", "source": "/run/docker.sock", "target": "/run/docker.sock"},
    ]
    made = staging.checker_of({**DEFINITION, "volumes": volumes}, "/stage", "kong config parse 'a file'")
    assert made == {
        **{key: DEFINITION[key] for key in list(DEFINITION)[:7]},
        "entrypoint": ["kong", "config", "parse", "a file"],
        "command": [],
        "network_mode": "none",
        "pull_policy": "never",
        "logging": {"driver": "none"},
        "volumes": [
            {**staged, "source": f"/stage{staged['source']}", "read_only": True},
            {"type": "tmpfs", "target": "/data"},
        ],
    }


def test_a_checker_may_read_the_arguments_its_service_will_have():
    definition = {**DEFINITION, "command": ["-days=14d", "-path=/logs"]}
    made = staging.checker_of(definition, "/stage", "logs @arguments@ -v")
    assert (made["entrypoint"], made["command"]) == (["logs", "-days=14d", "-path=/logs", "-v"], [])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("bad value\nusage", "bad value\nusage", id="little is shown whole"),
        pytest.param("a\nb\nc\nd\ne", "a\n[3 more lines]\ne", id="of much, the beginning and the end"),
    ],
)
def test_a_checker_that_says_much_is_not_quoted_whole(said, shown):
    assert staging.both_ends(said, lines=1) == shown


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
def test_all_objections_of_programs_are_reported_at_once_and_nothing_is_replaced(tmp_path):
    path = tmp_path / "stack" / "kong" / "kong.yml"
    deliver({path: b"old"})
    checks = {
        "kong": {"command": "kong config parse /x", "files": [str(path)]},
        "nginx": {"command": "nginx -t", "files": ["/opt/aicluster/nginx/nginx.conf"]},
    }
    with pytest.raises(system.RefusedError) as refused:
        deliver({path: b"new"}, compose_check=True, checks=checks)
    assert str(refused.value).splitlines() == [
        f"{path} of service kong was refused by `kong config parse /x` (rc 1): weight 70000 is too much",
        "/opt/aicluster/nginx/nginx.conf of service nginx was refused by `nginx -t` (rc 127): "
        'exec: "nginx": executable file not found in $PATH',
    ]
    assert path.read_bytes() == b"old"


@pytest.mark.usefixtures("programs")
def test_a_program_that_does_not_come_to_an_end_refuses(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "CHECK_TIMEOUT_S", 0.5)
    said = staging.check_container("slow", {}, str(tmp_path), {"command": "slow", "files": ["/a"]})
    assert said == "/a of service slow was refused by `slow` (no end within 0 s): still reading"
