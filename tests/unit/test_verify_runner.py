"""The node's own verify: containers, checks, evidence, and the command that tells more."""

import http.server
import itertools
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import aicluster_verify
import pytest
from a_kit import ScriptedKit, in_turn
from aicluster_verify import CheckError, Kit, require_active, require_healthy, verdict
from listening import Listening
from tree import ROOT

WEB: dict[str, Any] = {"container": True, "unit": None, "memory_mb": 64, "profiles": [], "ports": {}}
SERVICES = {"web": WEB, "host": WEB | {"container": False}, "night": WEB | {"profiles": ["night"]}}
SITE: dict[str, Any] = {"node": "PI52", "services": SERVICES, "cluster": []}
CONTAINER = {"name": "aicluster-web-1", "state": "running", "status": "Up 2 minutes (healthy)", "folders": []}
HEALTHY = {"web": [CONTAINER]}


@pytest.fixture
def kit() -> Kit:
    return Kit(SITE, "run-1")


@pytest.fixture
def checks(tmp_path, monkeypatch):
    monkeypatch.setattr(aicluster_verify, "ROOT", str(tmp_path))
    folder = tmp_path / "checks"
    folder.mkdir()

    def write(service: str, body: str) -> None:
        (folder / f"{service}.py").write_text(f"def check(kit):\n    {body}\n")

    return write


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.send_header("Location", "/nowhere")
        self.end_headers()
        self.wfile.write(json.dumps({"path": self.path}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with Listening(Server) as server:
        yield server.url


@pytest.mark.parametrize(("found", "evidence"), [
    ([], "has no container"),
    ([CONTAINER | {"status": "Up 9 minutes (unhealthy)"}], r"\(unhealthy\)"),
    ([CONTAINER | {"status": "Up 40 seconds (health: starting)"}], "starting"),
    ([CONTAINER, {"name": "b", "state": "created", "status": "Created"}], "container b: Created"),
], ids=["none", "an unhealthy one", "one that still starts", "one of two not started"])  # fmt: skip
def test_a_service_has_failed_with_containers_that_are_not_healthy(found, evidence):
    with pytest.raises(CheckError, match=evidence):
        require_healthy(found)


def units(*states: str) -> Kit:
    """A node whose unit goes through these states, the last one for ever; its journal has one line."""
    shown = in_turn(*(f"ActiveState={state}\n" for state in states))
    return ScriptedKit(SITE, commands={"systemctl *": shown, "journalctl *": "Could not connect\n"})


@pytest.fixture
def nobody_waits(monkeypatch):
    passed = itertools.count()
    monkeypatch.setattr(time, "sleep", lambda _s: None)
    monkeypatch.setattr(time, "monotonic", lambda: next(passed))


@pytest.mark.usefixtures("nobody_waits")
@pytest.mark.parametrize("state", ["activating", "failed", "inactive"])
def test_a_unit_that_is_not_active_has_failed_and_what_it_said_last_is_the_evidence(state):
    with pytest.raises(CheckError) as failure:
        require_active(units(state), "shipper.service")
    assert failure.value.evidence == f"unit shipper.service is {state}: Could not connect"
    assert failure.value.next_command == "systemctl status shipper.service"


def test_a_command_for_people_can_be_typed_by_the_user_who_logs_in():
    checks = (ROOT / "roles").glob("*/templates/opt/aicluster/checks/*.py")
    before = [text for check in checks for text in check.read_text().split("docker compose")[:-1]]
    assert before and all(text.endswith("sudo ") for text in before)


def test_a_check_that_stumbles_breaks_its_service_and_no_other(kit, checks):
    checks("web", 'return {}["missing"]')
    result = verdict("web", kit, HEALTHY, "")
    assert result["state"] == "failed"
    assert "KeyError" in result["evidence"]
    assert "logs --tail 50 web" in result["next"]


ENABLED, COMEBACK = "UnitFileState=enabled", "runs now, but may not come back after a reboot: unit "


@pytest.mark.parametrize(("states", "warning"), [
    pytest.param([ENABLED, ENABLED], None, id="both units are enabled"),
    pytest.param([ENABLED, "UnitFileState=disabled"], "aicluster-stack is disabled", id="one is off"),
    pytest.param(["UnitFileState=masked", ENABLED], "docker is masked", id="the engine is off"),
])  # fmt: skip
def test_a_container_that_would_not_come_back_after_a_reboot_is_named(checks, monkeypatch, states, warning):
    checks("web", 'return "healthy"')
    checks("host", 'return "healthy"')
    monkeypatch.setattr(aicluster_verify, "settled", lambda _kit: HEALTHY)
    asked = ScriptedKit(SITE, commands={"systemctl show *": "\n\n".join(states) + "\n"})
    web, host = aicluster_verify.verdicts(asked, ["web", "host"])
    assert (web["state"], host.get("warning")) == ("healthy", None)
    assert web.get("warning") == (warning and f"{COMEBACK}{warning}")
    assert web["next"] == ("ansible-playbook site.yml" if warning else "")


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize(("profile", "state"), [("day", "inactive"), ("night", "failed")])
def test_a_service_is_only_asked_in_its_profile(kit, profile, state):
    assert verdict("night", kit, {}, profile)["state"] == state


def test_an_unexpected_status_breaks_the_service_with_url_and_body(kit, address):
    with pytest.raises(CheckError, match="answered 503 instead of 200") as failure:
        kit.expect(f"{address}/503")
    assert failure.value.next_command == f"curl -v '{address}/503'"


def test_a_server_that_does_not_answer_in_time_breaks_the_service_with_the_words_checks_look_for(kit):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(CheckError, match="timed out"):
        kit.http(f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=0.1)
