"""The node's switch between profiles: the order of its steps, and the way back."""

import contextlib
import itertools
import json
import sys
import time
from typing import Any

import aicluster_profile
import pytest
from aicluster_verify import CheckError, Kit, active_profile

PORT = {"port": 11435, "container": 11434, "published": "10.0.0.1"}
SITE: dict[str, Any] = {
    "node": "ORIN0",
    "cluster": [],
    "services": {
        "web": {"container": True, "profiles": [], "health_limit_s": 700, "ports": {}},
        "chat": {"container": True, "profiles": ["llm"], "health_limit_s": 90, "ports": {"api": PORT}},
        "paint": {"container": True, "profiles": ["image"], "health_limit_s": 240, "ports": {}},
        "host": {"container": False, "profiles": ["image"], "health_limit_s": 0, "ports": {}},
        "draw": {"container": True, "profiles": ["image"], "health_limit_s": 30, "ports": {}},
    },
}
PROFILES = {"llm": ["chat"], "image": ["paint", "host", "draw"]}


class Node(Kit):
    """A node whose commands are recorded instead of run.

    `clients`: of each service, for ever; `fails`: services that do not come up; `states`: of containers that
    were not stopped, but do not run.
    """

    def __init__(self, running: list[str], **more: Any) -> None:
        super().__init__(SITE, "test")
        self.steps, self.running = list[str](), running
        self.fails, self.states = more.get("fails", []), more.get("states", {})
        self.clients: int = more.get("clients", 0)

    def come(self, service: str) -> None:
        if service in self.fails:
            raise CheckError(f"{service} is unhealthy")

    def run(self, argv: Any, *_more: Any, **_named: Any) -> str:
        command = " ".join(argv)
        if "config --services" in command:
            profile = argv[1].partition("=")[2]
            return "\n".join(["web", *PROFILES.get(profile, [])])
        if "ps --services" in command:
            asked = {state for word, state in itertools.pairwise(argv) if word == "--status"}
            return "\n".join(one for one in self.running if self.states.get(one, "running") in asked)
        if command.startswith("nsenter"):
            assert "4711" in argv, "no process, no network"
            return "x\n" * self.clients
        if command.startswith("docker inspect"):
            return "0" if "restarting" in self.states.values() else "4711"
        if command.startswith("docker ps"):
            return "c1"
        if command.startswith("iptables"):
            verb = "block" if "-I" in argv else "unblock"
            self.steps.append(f"{verb} {argv[argv.index('--ctorigdstport') + 1]}")
        if " restart " in command:
            self.steps.append("restart " + command.partition(" restart ")[2])
        if " stop " in f"{command} ":
            self.come("stop")
            self.steps.append("stop " + command.partition(" stop ")[2])
            self.running = [name for name in self.running if name not in argv]
        if " up " in command:
            _limit, *services = argv[argv.index("--wait-timeout") + 1 :]
            self.steps.append("start " + " ".join(services))
            for service in services:
                self.come(service)
            self.running += services
        return ""


@pytest.fixture(autouse=True)
def a_node_in_profile_llm(tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text("COMPOSE_PROFILES=llm\n")
    read, woken, write = active_profile, aicluster_profile.is_woken, aicluster_profile.set_profile
    monkeypatch.setattr(aicluster_profile, "active_profile", lambda: read(str(path)))
    monkeypatch.setattr(aicluster_profile, "is_woken", lambda: woken(str(path)))
    monkeypatch.setattr(
        aicluster_profile, "set_profile", lambda profile, wake=False: write(profile, wake, str(path))
    )
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return path


def switch(node: Node) -> list[str]:
    aicluster_profile.switch(node, PROFILES, "image")
    return node.steps


def test_a_switch_that_is_cut_off_while_it_turns_callers_away_opens_the_doors_again():
    class CutOff(Node):
        def run(self, argv: Any, *more: Any, **named: Any) -> str:
            said = super().run(argv, *more, **named)
            if self.steps[-1:] == ["block 11435"]:
                sys.exit(143)
            return said

    node = CutOff(["web", "chat"])
    with pytest.raises(SystemExit):
        switch(node)
    assert node.steps[-2:] == ["block 11435", "unblock 11435"]


def test_work_that_does_not_end_is_counted_and_not_waited_for_for_ever(capsys, monkeypatch):
    node = Node(["web", "chat"], clients=2)
    monkeypatch.setattr(aicluster_profile, "DRAIN_S", 0)
    assert "stop chat" in switch(node)
    assert "chat: still at work (waited 0 s), requests: 2" in capsys.readouterr().out


@pytest.mark.parametrize(("fails", "said"), [
    (["draw"], "draw is unhealthy; profile llm is active again"),
    (["paint", "chat"], "paint is unhealthy; llm did not come up again either: chat is unhealthy"),
    (["stop"], "stop is unhealthy; profile llm is active again"),
], ids=["and the other comes back", "nor does the other, which hides no cause", "and none stop"])  # fmt: skip
def test_a_profile_that_does_not_come_up_is_taken_back(a_node_in_profile_llm, fails, said):
    node = Node(["web", "chat"], fails=fails)
    with pytest.raises(CheckError, match=f"^image did not come up: {said}$"):
        switch(node)
    assert node.steps[-2:] == ["start chat", "unblock 11435"]
    assert a_node_in_profile_llm.read_text() == "COMPOSE_PROFILES=llm\n"


WOKEN = "COMPOSE_PROFILES=image\n# woken by a request\n"


def test_a_switch_for_a_request_marks_the_profile_and_a_failed_one_puts_it_back(a_node_in_profile_llm):
    aicluster_profile.switch(Node(["web", "chat"]), PROFILES, "image", wake=True)
    assert a_node_in_profile_llm.read_text() == WOKEN
    with pytest.raises(CheckError):
        aicluster_profile.switch(Node(["web", "paint"], fails=["chat"]), PROFILES, "llm")
    assert a_node_in_profile_llm.read_text() == WOKEN


@pytest.mark.parametrize(("clients", "work", "said", "steps"), [
    (1, [], "chat: still at work", ["unblock 11435", "block 11435", "unblock 11435"]),
    (0, ["2 jobs"], "2 jobs", []),
    (0, ["", "1 job"], "1 job", ["unblock 11435", "block 11435", "unblock 11435"]),
], ids=["an answer that does not end", "jobs that wait", "a job that came meanwhile"])  # fmt: skip
def test_a_request_does_not_switch_against_work(
    a_node_in_profile_llm, monkeypatch, clients, work, said, steps
):
    node, left = Node(["web", "chat"], clients=clients), [*work]
    monkeypatch.setattr(aicluster_profile, "DRAIN_S", 0)
    monkeypatch.setattr(aicluster_profile, "work", lambda *_: left.pop(0) if left else "")
    with pytest.raises(CheckError, match=said):
        aicluster_profile.switch(node, PROFILES, "image", wake=True)
    assert node.steps == steps
    assert a_node_in_profile_llm.read_text() == "COMPOSE_PROFILES=llm\n"


def test_a_service_that_a_request_starts_is_provisioned_which_else_a_run_does(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(aicluster_profile, "ROOT", str(tmp_path))
    monkeypatch.setattr(Kit, "execute", lambda _kit, service, argv: f"changed: {service} by {argv[0]}\n")
    (tmp_path / "paint/bin").mkdir(parents=True)
    (tmp_path / "paint/bin/provision").touch()
    aicluster_profile.switch(Node(["web", "chat"]), PROFILES, "image", wake=True)
    assert "paint: changed: paint by /opt/aicluster/bin/provision\n" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "left", "started"), [
    (["image"], "COMPOSE_PROFILES=image\n", ["start draw"]), (["settle"], WOKEN, []),
    (["image", "--wake"], WOKEN, ["start paint draw"]),
], ids=["is kept by whoever chooses it", "is left by a boot", "is left by another request"])  # fmt: skip
def test_a_woken_profile_whose_switch_was_killed(
    a_node_in_profile_llm, tmp_path, monkeypatch, arguments, left, started
):
    node = Node(["web", "paint"])
    a_node_in_profile_llm.write_text(WOKEN)
    (tmp_path / "verify.json").write_text(json.dumps(SITE))
    monkeypatch.setattr(aicluster_profile, "ROOT", str(tmp_path))
    monkeypatch.setattr(aicluster_profile, "alone", contextlib.nullcontext)
    monkeypatch.setattr(aicluster_profile, "Kit", lambda *_: node)
    assert aicluster_profile.main(arguments) == 0
    assert [step for step in node.steps if step.startswith("start")] == started
    assert a_node_in_profile_llm.read_text() == left


@pytest.mark.parametrize(("record", "refused"), [
    ({"who": "anna", "play": "site.yml", "seen": time.monotonic()}, True),
    ({"who": "anna", "play": "site.yml", "seen": time.monotonic() - 2 * 86400}, False),
    ({}, False),
    (None, False),
], ids=["a run", "a run that has been silent for days", "a run that has ended", "no run"])  # fmt: skip
def test_a_request_does_not_switch_while_a_run_changes_the_node(tmp_path, record, refused):
    path = tmp_path / "lock"
    if record is not None:
        path.write_text(json.dumps(record))
    with pytest.raises(CheckError, match="anna changes") if refused else contextlib.nullcontext():
        aicluster_profile.require_no_run(str(path))


@pytest.mark.parametrize("state", ["restarting", "paused"])
def test_settling_stops_what_is_not_stopped_although_it_does_not_run(state):
    node = Node(["web", "chat", "paint"], states={"paint": state})
    assert aicluster_profile.settle(node, "llm") == ["paint"]


def test_two_switches_at_a_time_are_refused(tmp_path):
    one, other = (aicluster_profile.alone(str(tmp_path / "lock")) for _ in range(2))
    with one, pytest.raises(CheckError, match="another switch"), other:
        pass
