"""What is done with ComfyUI before it stops, and the check of who moves its pictures to the bucket."""

from hashlib import sha256
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_verify import CheckError
from by_path import import_file
from healthy import kit_of

outputs = check_of("comfyui_outputs")
rest = import_file("roles/comfyui/templates/opt/aicluster/rest/comfyui.py", "rest_comfyui")
BUSY = {"queue_running": [[0, "p1"]], "queue_pending": [[1, "p2"], [2, "p3"]]}


@pytest.mark.parametrize(("changed", "said", "interrupted"), [
    pytest.param({}, "nothing ran, 0 waiting", False, id="nothing to wait for"),
    pytest.param({"GET /queue": (200, BUSY)}, "interrupted, 2 waiting", True,
        id="a picture that does not end is interrupted"),
])  # fmt: skip
def test_before_it_is_stopped_comfyui_ends_its_work_and_frees_its_memory(changed, said, interrupted):
    kit = kit_of("comfyui", {"POST /interrupt": (200, ""), "POST /free": (200, ""), **changed})
    assert said in rest.rest(kit)
    assert ("POST /interrupt" in kit.asked) is interrupted
    assert kit.asked[-1] == "POST /free"


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
            "GET /queue": (200, {"queue_running": [], "queue_pending": []}),
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
        return 200, {"prompt_id": "p1"}

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


@pytest.fixture(autouse=True)
def profile(monkeypatch):
    def enter(name: str) -> None:
        monkeypatch.setattr(outputs, "active_profile", lambda: name)

    enter("image")
    monkeypatch.setattr(outputs, "load", lambda kind, service, _folder: getattr(check_of(service), kind))
    return enter


@pytest.mark.parametrize(("present", "changed"), [
    pytest.param("llm", {}, id="it is inactive"),
    pytest.param("image", {"GET /queue": None}, id="it does not answer, which its own check tells"),
])  # fmt: skip
def test_where_comfyui_makes_no_picture_a_text_is_moved(profile, present, changed):
    profile(present)
    kit = Mover(None, changed)
    assert outputs.check(kit).startswith("a text (ComfyUI is inactive or busy) went to the bucket and back")
    assert kit.moved == ["aicluster-verify-run-1.txt"] and kit.outputs == {}


@pytest.mark.parametrize(("present", "arrives", "evidence"), [
    pytest.param("image", b"another", "is not what the bucket gives back", id="something else is read back"),
    pytest.param("llm", CheckError("403 Forbidden"), "object: 403 Forbidden", id="it is not taken"),
])  # fmt: skip
def test_what_does_not_become_an_object_is_named_and_nothing_is_left(profile, present, arrives, evidence):
    profile(present)
    kit = Mover(arrives)
    assert evidence in failure_of(outputs.check, kit).evidence
    assert kit.outputs == {}
