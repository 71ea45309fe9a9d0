"""The service that switches a node's profile for requests: who waits for what, when the node goes back."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aicluster_wake
import pytest
import render
from aicluster_wake import Server, Switches
from tables import cases

from aicluster.gateway.sleeping import wake_ways

SITE = {
    "node": "ORIN0", "cluster": [],
    "services": {"paint": {"profiles": ["image"]}, "chat": {"profiles": ["llm"]}},
}  # fmt: skip


class Switched:
    """A switch that lasts until it is told to end; `failure` is what it says then."""

    def __init__(self, failure: str = "", ended: bool = True) -> None:
        self.failure, self.to, self.may_end = failure, list[str](), threading.Event()
        if ended:
            self.may_end.set()

    def __call__(self, profile: str) -> str:
        self.to.append(profile)
        assert self.may_end.wait(10)
        return self.failure


def test_all_who_want_a_profile_wait_for_one_switch():
    switch = Switched(ended=False)
    switches = Switches(switch)
    with ThreadPoolExecutor(5) as pool:
        waiting = [pool.submit(switches.to, "image", 10) for _ in range(5)]
        while not switch.to:
            time.sleep(0.01)
        assert "image is in progress" in (switches.to("quality", 10) or "")
        switch.may_end.set()
        assert [one.result() for one in waiting] == [""] * 5
    assert switch.to == ["image"]


@pytest.mark.parametrize(("pause_s", "second", "tried"), [
    (60, "image", 1), (0, "image", 2), (60, "quality", 2),
], ids=["not again at once", "but later", "another profile at once"])  # fmt: skip
def test_a_switch_that_failed_is_not_tried_by_every_request(monkeypatch, pause_s, second, tried):
    monkeypatch.setattr(aicluster_wake, "PAUSE_S", pause_s)
    switch = Switched(failure="2 jobs")
    switches = Switches(switch)
    assert [switches.to("image", 10), switches.to(second, 10)] == ["2 jobs"] * 2
    assert len(switch.to) == tried


@cases(("looks", "tries"), {
    "not yet": ([(30, True), (59, True)], 0),
    "idle long enough": ([(30, True), (60, True)], 1),
    "used meanwhile": ([(30, True), (50, False), (80, True)], 0),
    "and then idle": ([(50, False), (110, True)], 1),
    "a refused try waits": ([(60, True), (90, True)], 1),
})  # fmt: skip
def test_a_woken_profile_that_nobody_uses_is_left(monkeypatch, looks, tries):
    to: list[str] = []
    monkeypatch.setattr(Switches, "to", lambda _switches, home, _hold_s: to.append(home))
    clock, quiet = iter([0, *(at for at, _ in looks)]), iter([one for _, one in looks])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.setattr(aicluster_wake, "resting", lambda _home: next(quiet))
    with pytest.raises(StopIteration):
        aicluster_wake.go_home(Switches(Switched()), "llm", 60)
    assert to == ["llm"] * tries


@cases(("active", "woken", "quiet", "work", "resting"), {
    "nobody": ("image", True, True, "", True),
    "a client": ("image", True, False, "", False),
    "a job": ("image", True, True, "1 picture", False),
    "somebody chose it": ("image", False, True, "", False),
    "the node's own": ("llm", True, True, "", False),
})  # fmt: skip
def test_a_profile_rests_that_was_woken_and_is_not_used(monkeypatch, active, woken, quiet, work, resting):
    found = {"site": SITE, "active_profile": active, "is_woken": woken, "at_work": not quiet, "work": work}
    for name, value in found.items():
        monkeypatch.setattr(aicluster_wake, name, lambda *_, value=value: value)
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    assert aicluster_wake.resting("llm") is resting


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(aicluster_wake, "site", lambda: SITE)
    monkeypatch.setattr(aicluster_wake, "active_profile", lambda: "llm")
    server = Server(("127.0.0.1", 0), Switches(Switched()), "token", 0.05)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def asked(server: Server, path: str, **headers: str) -> tuple[int, Any, Any]:
    """The status, and the headers that nginx and clients look at."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_address[1]}{path}", headers=named)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            json.load(answer)
    except urllib.error.HTTPError as error:
        assert json.load(error)["error"]
        answer = error
    return answer.status, answer.headers.get("X-Accel-Redirect"), answer.headers.get("Retry-After")


TOKEN = {"Authorization": "Bearer token"}


@cases(("path", "headers", "switch", "answer"), {
    "no token": ("/image", {}, Switched(), (401, None, None)),
    "which profile is active": ("/", TOKEN, Switched(), (200, None, None)),
    "no such profile": ("/x", TOKEN, Switched(), (404, None, None)),
    "nginx asks Kong again": ("/image", {**TOKEN, "X_AI_Kept": "yes"}, Switched(), (200, "@woken", None)),
    "what nginx has not kept is sent again": ("/image", TOKEN, Switched(), (503, None, "1")),
    "it takes longer": ("/image", TOKEN, Switched(ended=False), (503, None, "30")),
    "the node is at work": ("/image", TOKEN, Switched("2 jobs"), (503, None, "60")),
})  # fmt: skip
def test_a_request_is_sent_on_or_told_when_to_come_again(listening, path, headers, switch, answer):
    listening.switches = Switches(switch)
    assert asked(listening, path, **headers) == answer
    switch.may_end.set()
    assert switch.to == (["image"] if answer[0] in (200, 503) and path == "/image" else [])


def test_a_path_is_woken_where_its_service_runs_in_a_profile_of_a_node_that_switches():
    paths = {"/a": "comfyui", "/b": "sonarqube", "/c": "ollama", "/d": "nothing"}
    found = {way["path"]: way["at"] for way in wake_ways(render.waking()["cluster_nodes"], paths)}
    profiles = {"/a": "image", "/b": "quality", "/c": "llm"}
    assert found == {path: f"192.168.1.157:8020/{profile}" for path, profile in profiles.items()}
    assert wake_ways(render.cluster("production"), paths) == []
