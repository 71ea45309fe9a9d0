"""The engine's next start: what it will read, and that it is not refused for too many."""

import json

import pytest
from aicluster_node import engine_start, shared_files, state, system
from node_half import deliver, inspect, want_shared
from programs import script

pytestmark = pytest.mark.usefixtures("own_node")
RESTART = ["restart", "docker"]


@pytest.fixture
def dockerd(tmp_path, monkeypatch):
    """A program that validates as dockerd does, and what systemd and the kernel show of its process."""

    def make(verdict):
        words = [script(tmp_path / "dockerd", verdict), "-H", "fd://"]
        process = tmp_path / "7"
        process.mkdir()
        (process / "cmdline").write_text("".join(f"{word}\0" for word in words))
        monkeypatch.setattr(engine_start, "PROCESSES", str(tmp_path))
        monkeypatch.setattr(system, "run", lambda command: "7\n" if command[0] == "systemctl" else "")
        return words

    return make


def test_an_engine_too_old_to_validate_says_nothing_and_no_other_program_is_started(tmp_path, dockerd):
    old = dockerd('echo "Status: unknown flag: --validate"; exit 125')
    for command in (old, ["/bin/sh", "-c", f"touch {tmp_path}/ran"], []):
        assert engine_start.engine_said(command, "{}") is None
    assert not (tmp_path / "ran").exists()


def test_a_file_to_come_is_validated_before_it_is_there_and_while_it_waits_for_its_restart(tmp_path, dockerd):
    path = tmp_path / "daemon.json"
    path.write_text('{"data-root": "/d"}')
    dockerd("cat; exit 1")
    assert inspect()["conditions"]["starting"] is None
    found = inspect(want_shared(path, {"debug": True}))["conditions"]["starting"]
    assert found["file"] == json.loads(found["said"]) == {"data-root": "/d", "debug": True}
    assert (found["store"]["root_to_come"], found["swarm"], found["containers"]) == ("/d", False, False)
    path.write_text("{}")
    (tmp_path / "docker" / "swarm").mkdir(parents=True)
    (tmp_path / "docker" / "swarm" / "docker-state.json").touch()
    state.write_state({**state.read_state(), "pending": [RESTART]})
    found = inspect()["conditions"]["starting"]
    assert (found["file"], found["said"], found["swarm"]) == ({}, "{}", True)


@pytest.fixture
def systemctl(monkeypatch):
    """The commands that are run; to every one systemd says that the engine is down."""
    ran: list[list[str]] = []

    def run(command):
        ran.append(command)
        return "failed\n"

    monkeypatch.setattr(system, "run", run)
    return ran


@pytest.mark.parametrize("act", [
    pytest.param(lambda: deliver({}, reactions=[RESTART, ["reload", "ssh"]]), id="before a restart"),
    pytest.param(lambda: shared_files.restore({}), id="before a cleanup restarts it"),
])  # fmt: skip
def test_an_engine_that_was_restarted_often_is_restarted_again(systemctl, act):
    act()
    assert systemctl == [["systemctl", "reset-failed", "docker.service", "docker.socket"]]
