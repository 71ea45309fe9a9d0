"""The node's switch between modes: the order of its steps, and the way back."""

from typing import Any

import aicluster_mode
import pytest
from aicluster_verify import Broken, Kit, active_mode

PORT = {"port": 11435, "container": 11434, "published": "10.0.0.1"}
SITE: dict[str, Any] = {
    "node": "ORIN0",
    "cluster": [],
    "services": {
        "web": {"container": True, "modes": [], "memory_mb": 1, "ports": {}},
        "chat": {"container": True, "modes": ["llm"], "memory_mb": 1, "ports": {"api": PORT}},
        "paint": {"container": True, "modes": ["image"], "memory_mb": 1, "ports": {}},
    },
}
MODES = {"llm": ["chat"], "image": ["paint"]}


class Node(Kit):
    """A node whose commands are noted instead of run.

    `connected`: clients left at each look; `states`: of containers that were not stopped, but do not run.
    """

    def __init__(
        self,
        running: list[str],
        connected: list[int] | None = None,
        fails: str = "",
        states: dict[str, str] | None = None,
    ) -> None:
        super().__init__(SITE, "test")
        self.steps: list[str] = []
        self.states = states or {}
        self.running, self.connected, self.fails = running, connected or [], fails

    def mode(self) -> str:
        mode: str = vars(aicluster_mode)["active_mode"]()
        return mode

    def run(self, argv: Any, *_more: Any, **_named: Any) -> str:
        command = " ".join(argv)
        if "config --services" in command:
            mode = argv[1].partition("=")[2]
            return "\n".join(["web", *MODES[mode]])
        if "ps --services" in command:
            asked = {state for word, state in zip(argv, argv[1:], strict=False) if word == "--status"}
            return "\n".join(one for one in self.running if self.states.get(one, "running") in asked)
        if command.startswith("nsenter"):
            return "x\n" * (self.connected.pop(0) if self.connected else 0)
        if command.startswith("docker inspect"):
            return "4711"
        if command.startswith("docker ps"):
            return "c1"
        if command.startswith("iptables"):
            self.steps.append(
                f"{'block' if '-I' in argv else 'unblock'} {argv[argv.index('--ctorigdstport') + 1]}"
            )
        if " stop " in f"{command} ":
            self.steps.append("stop " + command.partition(" stop ")[2])
            self.running = [name for name in self.running if name not in argv]
        if " up " in command:
            mode = self.mode()
            self.steps.append(f"start {mode}")
            if self.fails == mode:
                raise Broken("unhealthy")
            self.running = ["web", *MODES[mode]]
        return ""


@pytest.fixture(autouse=True)
def a_node_in_mode_llm(tmp_path, monkeypatch):
    path = tmp_path / ".env"
    path.write_text("COMPOSE_PROFILES=llm\n")
    read, write = active_mode, aicluster_mode.set_mode
    monkeypatch.setattr(aicluster_mode, "active_mode", lambda: read(str(path)))
    monkeypatch.setattr(aicluster_mode, "set_mode", lambda mode: write(mode, str(path)))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    return path


def switch(node: Node, to: str = "image") -> list[str]:
    aicluster_mode.switch(node, MODES, to, drain_s=60, start_s=10)
    return node.steps


def test_callers_go_elsewhere_before_anything_stops_and_come_back_when_the_other_mode_is_up():
    steps = switch(Node(["web", "chat"]))
    assert steps == ["unblock 11435", "block 11435", "stop chat", "start image", "unblock 11435"]


def test_running_work_ends_before_its_service_is_stopped(capsys):
    node = Node(["web", "chat"], connected=[2, 1, 0])
    switch(node)
    assert node.connected == []
    assert "drained chat" in capsys.readouterr().out


def test_work_that_does_not_end_is_not_waited_for_for_ever(capsys, monkeypatch):
    node = Node(["web", "chat"], connected=[1] * 1000)
    monkeypatch.setattr(aicluster_mode, "drain", lambda kit, services, _s: REAL_DRAIN(kit, services, 0))
    assert "stop chat" in switch(node)
    assert "still at work" in capsys.readouterr().out


REAL_DRAIN = aicluster_mode.drain


def test_the_node_remembers_its_mode(a_node_in_mode_llm):
    switch(Node(["web", "chat"]))
    assert a_node_in_mode_llm.read_text() == "COMPOSE_PROFILES=image\n"


def test_a_mode_that_does_not_come_up_is_taken_back(a_node_in_mode_llm):
    node = Node(["web", "chat"], fails="image")
    with pytest.raises(Broken, match="image did not come up, the mode is llm again: unhealthy"):
        switch(node)
    assert node.steps[-2:] == ["start llm", "unblock 11435"]
    assert a_node_in_mode_llm.read_text() == "COMPOSE_PROFILES=llm\n"


def test_settling_stops_what_does_not_belong_to_the_mode_and_nothing_else():
    node = Node(["web", "chat", "paint"])
    assert aicluster_mode.settle(node, "llm") == ["paint"]
    assert node.steps == ["stop paint"]


@pytest.mark.parametrize("state", ["restarting", "paused"])
def test_settling_stops_what_is_not_stopped_although_it_does_not_run(state):
    node = Node(["web", "chat", "paint"], states={"paint": state})
    assert aicluster_mode.settle(node, "llm") == ["paint"]


def test_settling_a_settled_node_does_nothing():
    node = Node(["web", "chat"])
    assert aicluster_mode.settle(node, "llm") == []
    assert node.steps == []


def test_two_switches_at_a_time_are_refused(tmp_path):
    path = str(tmp_path / "lock")
    with (
        aicluster_mode.alone(path),
        pytest.raises(Broken, match="another switch"),
        aicluster_mode.alone(path),
    ):
        pass


def test_the_overview_marks_the_present_mode():
    assert aicluster_mode.overview(MODES, "llm").splitlines() == ["* llm        chat", "  image      paint"]


def test_the_modes_follow_from_the_services():
    assert aicluster_mode.modes_of(SITE) == MODES
