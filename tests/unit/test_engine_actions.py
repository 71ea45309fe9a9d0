"""The actions of the engine: which request each sends to its node."""

from collections.abc import Mapping
from typing import Any

import pytest
import stack_files
import stack_hold
import stack_images

REPOSITORY = {"packages": ["python3-debian"], "files": ["/etc/a.sources"]}
PLAN: dict[str, Any] = {
    "prepare": {"packages": ["jq"], "reactions": [["reload", "ssh"]]},
    "engine": {"reactions": [["restart", "docker"]]},
    "images": ["redis:8"],
    "wanted": {"engine": {"coming": {"engine": True}, "repository": REPOSITORY}},
}


def files(phase: str, part: str = "prepare") -> dict[str, Any]:
    return {"phase": phase, "part": part, "plan": PLAN}


@pytest.mark.parametrize(("action", "options", "request_"), [
    (stack_hold, {"state": "held"}, {"verb": "hold"}),
    (stack_hold, {"state": "released"}, {"verb": "release"}),
    (stack_images, {"plan": PLAN}, {"verb": "pull", "images": ["redis:8"]}),
    (stack_files, files("record"),
        {"verb": "record", "packages": ["jq", "python3-debian"], "sources": ["/etc/a.sources"]}),
    (stack_files, files("handled"), {"verb": "handled", "reactions": [["reload", "ssh"]]}),
    (stack_files, files("handled", "engine"), {"verb": "handled", "reactions": [["restart", "docker"]]}),
    (stack_files, files("restore"), {"verb": "restore"}),
], ids=["hold", "release", "pull", "record", "handled", "handled, the engine's part", "restore"])  # fmt: skip
def test_an_action_sends(monkeypatch, action, options, request_):
    sent: list[Mapping[str, Any]] = []

    def change(_task_vars: Any, request: Mapping[str, Any]) -> dict[str, Any]:
        sent.append(request)
        return {"changed": False}

    plugin = object.__new__(action.ActionModule)
    monkeypatch.setattr(plugin, "change", change)
    assert plugin.act(options, {"node_name": "PI31"}) == {"changed": False}
    assert sent == [request_]
