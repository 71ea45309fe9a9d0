"""The action plugin `ollama_model`: it watches the module's background process and prints how far it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from by_path import import_file

action = import_file("action_plugins/ollama_model.py", "action_by_path")


LINES: dict[str, tuple[Any, ...]] = {
    "nothing arrived yet": (0, 13.8e9, 0.0, "gpt-oss: 0 % of 13.8 GB"),
    "in the middle": (4.6e9, 13.8e9, 22e6, "gpt-oss: 33 % of 13.8 GB, 22.0 MB/s, 7 min left"),
    "at the end": (13.7e9, 13.8e9, 22e6, "gpt-oss: 99 % of 13.8 GB, 22.0 MB/s, less than a minute left"),
}


@pytest.mark.parametrize(("completed", "total", "rate", "line"), LINES.values(), ids=LINES)
def test_a_line_says_how_far_how_fast_how_long(completed, total, rate, line):
    sizes = {"completed": int(completed), "total": int(total), "rate": rate}
    assert action.progress_line({"model": "gpt-oss", "origin": "", **sizes}) == line
    from_mirror = action.progress_line({"model": "gpt-oss", "origin": "10.0.0.1:11436", **sizes})
    assert from_mirror == line.replace("gpt-oss", "gpt-oss from 10.0.0.1:11436")


ABOUT_TO_START = {"model": "b", "origin": "", "completed": 0, "total": 0, "rate": 0.0}
BEGUN = {"finished": False, "progress": ABOUT_TO_START}
MEANWHILE = {**BEGUN, "pulled": ["a"], "copied": ["a from m:1"], "given_up": ["model b: damaged"]}
DONE = {**MEANWHILE, "finished": True, "changed": True, "pulled": ["a", "b"]}
SAID = ["not from a mirror: model b: damaged", "a is there, copied from m:1"]


TASKS: dict[str, tuple[Any, ...]] = {
    "a node with all its models costs one call": ({}, [{"finished": True}], [], [0]),
    "a long pull has a first line soon and then one a minute and says nothing twice": ({},
        [BEGUN, BEGUN, MEANWHILE, MEANWHILE, BEGUN, DONE],
        ["pulling b: about to start"] * 2 + SAID + ["pulling b: about to start"] * 2 + ["b is there"],
        [0, 15, 30, 60, 60, 60]),
    "nobody waits who need not": ({"wait": False}, [BEGUN], ["pulls beside the rest of this run"], [0]),
    "a failure ends the task": ({}, [BEGUN, {**MEANWHILE, "failed": True}], SAID, [0, 15]),
    "check mode does not say that models are there": ({"check": True}, [DONE], [], [0]),
}  # fmt: skip


@pytest.mark.parametrize(("task", "results", "lines", "watched"), TASKS.values(), ids=TASKS)
def test_a_task_is_watched_to_its_end(task, results, lines, watched, monkeypatch):
    calls: list[float] = []
    shown: list[str] = []

    def execute(_: Any, module_args: Any = None, **__: Any) -> Any:
        calls.append((module_args or {}).get("watch_s", 0))
        return results[len(calls) - 1]

    monkeypatch.setattr(action.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(action.ActionBase, "_execute_module", execute)
    monkeypatch.setattr(action, "display", SimpleNamespace(display=shown.append))
    plugin = object.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(args=task, check_mode=task.get("check", False))
    assert plugin.run(task_vars={"node_name": "AGX0"}) == results[-1]
    assert [line.removeprefix("  AGX0: ") for line in shown] == lines
    assert calls == watched
