"""What verify finds out about the services of the small AI board, and what it says when one has failed."""

import base64
import json
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs

import aicluster_verify
import pytest
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_verify import CheckError
from by_path import import_file

comfyui, outputs = check_of("comfyui"), check_of("comfyui_outputs")
sonarqube, jupyterhub = check_of("sonarqube"), check_of("jupyterhub")
rest = import_file("roles/comfyui/templates/opt/aicluster/rest/comfyui.py", "rest_comfyui")


# --- comfyui ---

PICTURE = {"filename": "a.png", "subfolder": "", "type": "temp"}
JOB = {"outputs": {"2": {"images": [PICTURE]}}, "status": {"status_str": "success", "completed": True}}


def stats(device: str = "cuda") -> tuple[int, Any]:
    return 200, {"system": {}, "devices": [{"type": device}]}


@pytest.fixture(autouse=True)
def wanted(tmp_path, monkeypatch):
    file = tmp_path / "comfyui.json"
    monkeypatch.setattr(comfyui, "WANTED", str(file))

    def want(**changed: Any) -> None:
        file.write_text(json.dumps({"gpu": True, "checkpoints": [], **changed}))

    want()
    return want


def comfyui_kit(changed: dict[str, Any] | None = None) -> ScriptedKit:
    """A ComfyUI that works, but for what is changed."""
    answers = {
        "GET /system_stats": stats(),
        "POST /prompt": (200, {"prompt_id": "p1", "number": 1, "node_errors": {}}),
        "GET /history/p1": (200, {"p1": JOB}),
        "GET /queue": (200, QUEUES["idle"]),
        "GET /view": (200, b"\x89PNG\r\n\x1a\n..."),
        "POST /queue": (200, ""),
        "POST /history": (200, ""),
        "POST /interrupt": (200, ""),
        "POST /free": (200, ""),
        **(changed or {}),
    }
    return ScriptedKit(site("ORIN0", {"comfyui": {"ui": 80}}), answers)


def test_a_comfyui_that_makes_a_picture_is_healthy_and_forgets_it():
    kit = comfyui_kit()
    assert comfyui.check(kit) == (
        "a picture of 11 bytes was made; computes on cuda; no checkpoint declared: only the path was tested"
    )
    assert kit.asked[-2:] == ["POST /queue", "POST /history"]


@pytest.mark.parametrize(("there", "missing"), [
    pytest.param(["sd.safetensors", "xl/turbo.safetensors", "more.ckpt"], "", id="all are there"),
    pytest.param(["sd.safetensors"], "xl/turbo.safetensors", id="one is missing"),
])  # fmt: skip
def test_a_declared_checkpoint_that_is_missing_is_a_failure_with_the_way_to_bring_it(wanted, there, missing):
    wanted(checkpoints=["sd.safetensors", "xl/turbo.safetensors"])
    kit = comfyui_kit({"GET /models/checkpoints": (200, there)})
    if not missing:
        assert comfyui.check(kit).endswith("; all of 2 checkpoints")
        return
    found, first = failure_of(comfyui.check, kit), missing.partition(",")[0]
    assert found.evidence == f"no checkpoint named {missing}"
    assert found.next_command == (
        "sudo docker compose --project-directory /opt/aicluster "
        f"cp {first} comfyui:/opt/ComfyUI/models/checkpoints/{first}"
    )


BROKEN_COMFYUIS: dict[str, tuple[Any, ...]] = {
    "the GPU is not used": ({"GET /system_stats": stats("cpu")}, "given a GPU but computes on cpu"),
    "the job does not end": ({"GET /history/p1": (200, "{}")}, "did not end"),
    "the job fails": ({"GET /history/p1": (200, {"p1": {**JOB, "status": {"status_str": "error"}}})},
        "ended as"),
    "the picture is none": ({"GET /view": (200, "<html>")}, "is no PNG"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "evidence"), BROKEN_COMFYUIS.values(), ids=BROKEN_COMFYUIS)
def test_a_comfyui_that_does_not_work_is_named_with_the_evidence(changed, evidence):
    assert evidence in failure_of(comfyui.check, comfyui_kit(changed)).evidence


def test_a_comfyui_at_work_for_somebody_else_is_healthy():
    busy = (200, {"queue_running": [[0, "theirs"]], "queue_pending": [[1, "p1"]]})
    kit = comfyui_kit({"GET /history/p1": (200, "{}"), "GET /queue": busy})
    assert comfyui.check(kit).startswith("is busy for a user on cuda")
    assert kit.asked[-2:] == ["POST /queue", "POST /history"]


QUEUES = {
    "idle": {"queue_running": [], "queue_pending": []},
    "busy": {"queue_running": [[0, "p1"]], "queue_pending": [[1, "p2"], [2, "p3"]]},
}


@pytest.mark.parametrize(("queue", "said", "interrupted"), [
    pytest.param("idle", "nothing ran, 0 waiting", False, id="nothing to wait for"),
    pytest.param("busy", "interrupted, 2 waiting", True, id="a picture that does not end is interrupted"),
])  # fmt: skip
def test_before_it_is_stopped_comfyui_ends_its_work_and_frees_its_memory(queue, said, interrupted):
    kit = comfyui_kit({"GET /queue": (200, QUEUES[queue])})
    assert said in rest.rest(kit)
    assert ("POST /interrupt" in kit.asked) is interrupted
    assert kit.asked[-1] == "POST /free"


# --- comfyui_outputs ---

GOOD = {
    "comfyui_outputs: */outputs-healthy": "12\n",
    "comfyui_outputs: */outputs-bucket": "ORIN0/\n",
    "comfyui_outputs: find /output -type f": "/output/a.png\n/output/_put_here\n",
}
SAVED = {"filename": "aicluster-verify-r_00001_.png", "subfolder": "", "type": "output"}
DRAWN = b"\x89PNG..."


class Mover(ScriptedKit):
    """A mover and its folder of outputs; `arrives` is what the bucket gives back: else what was moved."""

    def __init__(self, arrives: bytes | CheckError | None = None, changed: Any = None) -> None:
        answers = {
            "GET /queue": (200, '{"queue_running": [], "queue_pending": []}'),
            "POST /prompt": self.draw,
            "GET /history/p1": (200, {"p1": {"outputs": {"2": {"images": [SAVED]}}}}),
            "GET /view": (200, DRAWN),
            "POST /queue": (200, ""),
            "POST /history": (200, ""),
            **(changed or {}),
        }
        super().__init__(site("ORIN0", {"comfyui": {"ui": 80}}), answers, GOOD)
        self.services["comfyui"]["profiles"] = ["image"]
        self.arrives, self.outputs, self.moved = arrives, dict[str, bytes](), list[str]()

    def draw(self, _graph: Any, _headers: Any) -> Any:
        self.outputs["/output/" + SAVED["filename"]] = DRAWN
        return 200, '{"prompt_id": "p1"}'

    def execute(self, service: str, argv: Any, stdin: str | None = None) -> str:
        match argv:
            case ["tee", path]:
                self.outputs[path] = (stdin or "").encode()
            case ["rm", "-f", path]:
                self.outputs.pop(path, None)
            case [script, name] if script.endswith("/outputs-round-trip"):
                self.moved.append(name)
                content = self.arrives if self.arrives is not None else self.outputs.pop("/output/" + name)
                if isinstance(content, CheckError):
                    raise content
                return f"{sha256(content).hexdigest()}  -\n"
            case _:
                return super().execute(service, argv, stdin)
        return ""


@pytest.fixture
def profile(monkeypatch):
    return lambda name: monkeypatch.setattr(outputs, "active_profile", lambda: name)


def test_a_picture_made_now_becomes_an_object_and_nothing_is_left(profile):
    profile("image")
    kit = Mover()
    assert outputs.check(kit) == (
        "a picture made now went to the bucket and back; last pass 12 s ago, 1 folders, 1 files not moved yet"
    )
    assert kit.moved == [SAVED["filename"]] and kit.outputs == {}
    assert kit.asked[-3:-1] == ["POST /queue", "POST /history"]


@pytest.mark.parametrize(("present", "changed"), [
    pytest.param("llm", {}, id="it is inactive"),
    pytest.param("image", {"GET /queue": None}, id="it does not answer, which its own check tells"),
])  # fmt: skip
def test_where_comfyui_makes_no_picture_a_text_is_moved(profile, present, changed):
    profile(present)
    kit = Mover(None, changed)
    assert outputs.check(kit).startswith("a text (ComfyUI is inactive or busy) went to the bucket and back")
    assert kit.moved == ["aicluster-verify-run-1.txt"] and kit.outputs == {}


@pytest.mark.parametrize("present", ["image", "llm"])
@pytest.mark.parametrize(("arrives", "evidence"), [
    pytest.param(b"another", "is not what the bucket gives back", id="something else is read back"),
    pytest.param(CheckError("403 Forbidden"), "object: 403 Forbidden", id="the store does not take it"),
])  # fmt: skip
def test_what_does_not_become_an_object_is_named_and_nothing_is_left(profile, present, arrives, evidence):
    profile(present)
    kit = Mover(arrives)
    assert evidence in failure_of(outputs.check, kit).evidence
    assert kit.outputs == {}


@pytest.mark.parametrize(("command", "evidence"), [
    pytest.param("outputs-healthy", "no pass succeeded lately", id="it has not reached the store for long"),
    pytest.param("outputs-bucket", "cannot be listed", id="its key does not open the bucket"),
])  # fmt: skip
def test_a_mover_that_moves_nothing_is_named(command, evidence):
    commands: dict[str, Any] = {**GOOD, f"comfyui_outputs: */{command}": CheckError("rc 1")}
    failing = ScriptedKit(site("ORIN0", {}), commands=commands)
    found = failure_of(outputs.check, failing)
    assert evidence in found.evidence and "rc 1" in found.evidence


# --- sonarqube ---

PROJECT = "aicluster-verify-run-1"


def sonar_kit(changed: dict[str, Any] | None = None, password: str = "Right-Password-1") -> ScriptedKit:
    """A SonarQube that works, but for what is changed."""

    def valid(_data: Any, headers: Any) -> Any:
        given = base64.b64decode(headers["Authorization"].split()[1]).decode()
        return 200, {"valid": given == f"admin:{password}"}

    def metrics(_data: Any, headers: Any) -> Any:
        return (200 if headers["Authorization"] == "Bearer open" else 403), ""

    answers: dict[str, Any] = {
        "GET /api/system/status": (200, {"version": "26.8", "status": "UP"}),
        "GET /api/authentication/validate": valid,
        "GET /api/monitoring/metrics": metrics,
        "POST /api/projects/create": (200, "{}"),
        "GET /api/projects/search": (200, {"components": [{"key": PROJECT}]}),
        "POST /api/projects/delete": lambda data, _: (204 if data == f"project={PROJECT}" else 404, ""),
        **(changed or {}),
    }
    secrets = {"sonarqube/admin_password": "Right-Password-1", "sonarqube/passcode": "open"}
    return ScriptedKit(site("ORIN0", {"sonarqube": {"web": 80}}), answers, secrets=secrets)


BROKEN_SONARQUBES: dict[str, tuple[Any, ...]] = {
    "its database is too old": (
        sonar_kit({"GET /api/system/status": (200, {"status": "DB_MIGRATION_NEEDED"})}),
        "DB_MIGRATION_NEEDED",
    ),
    "provisioning did not happen": (sonar_kit(password="admin"), "default password"),
    "Prometheus is not let in": (
        sonar_kit({"GET /api/monitoring/metrics": (403, "")}),
        "metrics answered 403",
    ),
    "it cannot forget": (
        sonar_kit({"POST /api/projects/delete": (500, "")}),
        "deleting the project answered 500",
    ),
}


@pytest.mark.parametrize(("kit", "evidence"), BROKEN_SONARQUBES.values(), ids=BROKEN_SONARQUBES)
def test_a_sonarqube_that_does_not_work_is_named_with_the_evidence(kit, evidence):
    assert evidence in failure_of(sonarqube.check, kit).evidence
    made = "POST /api/projects/create" in kit.asked
    assert (kit.asked[-1] == "POST /api/projects/delete") is made, "no project stays behind"


# --- jupyterhub ---

HUB = "/jupyter/hub"
USER = f"{HUB}/api/users/aicluster-verify"
SESSION = ("Set-Cookie", f"jupyterhub-hub-login=session; HttpOnly; Path={HUB}/")


def hub_kit(changed: dict[str, Any] | None = None, password: str = "right") -> ScriptedKit:
    """A JupyterHub where people can work, but for what is changed."""
    started = []

    def login(data: str, _headers: Any) -> Any:
        right = parse_qs(data)["password"] == [password]
        return (302, "", SESSION) if right else (403, "Invalid username or password")

    def start(*_: Any) -> Any:
        started.append(USER)
        return 202, ""

    answers: dict[str, Any] = {
        f"GET {HUB}/health": (200, ""),
        f"GET {HUB}/api": (200, '{"version": "5.5.4"}'),
        f"GET {HUB}/login": (200, "<form>"),
        f"POST {HUB}/login": login,
        f"GET {HUB}/home": (200, ""),
        f"GET {HUB}/metrics": (200, "# HELP\njupyterhub_running_servers 1.0\n"),
        f"POST {USER}/server": start,
        f"GET {USER}": lambda *_: (200, {"servers": {"": {"ready": True}} if started else {}}),
        f"DELETE {USER}/server": (204, ""),
        **(changed or {}),
    }
    secrets = {"jupyterhub/password": "right", "jupyterhub/metrics_token": "metrics"}
    return ScriptedKit(site("ORIN0", {"jupyterhub": {"hub": 80}}), answers, secrets=secrets)


@pytest.fixture
def settings(tmp_path, monkeypatch):
    """The settings of the role, where the check reads the path of the hub."""
    folder = tmp_path / "jupyterhub/conf"
    folder.mkdir(parents=True)
    (folder / "settings.json").write_text('{"base_url": "/jupyter/"}')
    monkeypatch.setattr(aicluster_verify, "ROOT", str(tmp_path))


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("said", "end"),
    [
        pytest.param(None, "one started in 0.0 s", id="a notebook starts"),
        pytest.param((429, "limit exceeded"), "no notebook slot was free", id="all places are taken"),
        pytest.param((400, "already running"), "another verify starts one", id="two verifies at once"),
    ],
)
def test_a_hub_where_people_can_work_is_healthy_and_nothing_goes_on_running(said, end):
    kit = hub_kit({f"POST {USER}/server": said} if said else None)
    evidence = jupyterhub.check(kit)
    assert evidence == f"version 5.5.4 accepted the password and no other; 1 notebooks run, {end}"
    assert (kit.asked[-1] == f"DELETE {USER}/server") is (said is None)


NEVER_READY = (200, {"servers": {"": {"ready": False}}})


BROKEN_HUBS: dict[str, tuple[Any, ...]] = {
    "the password was not taken over": (hub_kit(password="other"), "refuses the right password"),
    "it lets in everybody": (
        hub_kit({f"POST {HUB}/login": (302, "", SESSION)}),
        "accepts a wrong password",
    ),
    "it ends as it starts": (hub_kit({f"GET {USER}": NEVER_READY}), "does not come up"),
    "Prometheus is not let in": (hub_kit({f"GET {HUB}/metrics": (403, "")}), "answered 403"),
}  # fmt: skip


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(("kit", "evidence"), BROKEN_HUBS.values(), ids=BROKEN_HUBS)
def test_a_hub_nobody_could_work_with_is_named_with_the_evidence(kit, evidence):
    assert evidence in failure_of(jupyterhub.check, kit).evidence
