"""Models as the controller sees them: differences, mirrors, and what is printed of a long pull."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.aicluster_models import pull
from by_path import import_file
from fake_ollama import GIGA, pulling

from aicluster.errors import SiteError
from aicluster.models import model_mirrors, ollama_differences


def test_a_silent_server_has_nothing():
    assert ollama_differences(None, [{"name": "phi3:mini"}], {}) == ["model phi3:mini: pull"]


def test_another_service_on_the_port_is_said():
    with pytest.raises(SiteError, match="not an answer of GET /api/tags"):
        ollama_differences({"models": ["x"]}, [], {})


def node(name: str, tier: str, *, mirror_for: list[str] | None = None) -> dict[str, Any]:
    ports = {"registry": {"port": 11436, "container": 11436, "from": mirror_for}}
    services = {} if mirror_for is None else {"model_mirror": {"ports": ports}}
    return {"name": name, "tier": tier, "address": f"10.0.0.{len(name)}", "services": services}


AGX, AGX1 = (node(name, "primary_ai", mirror_for=["primary_ai", "secondary_ai"]) for name in ("AGX", "AGX1"))
OPEN = node("AGX", "primary_ai", mirror_for=["lan"])
MIRRORS: dict[str, tuple[Any, ...]] = {
    "the mirror of another node": (node("O", "secondary_ai"), [AGX], ["10.0.0.3:11436"]),
    "never its own": (AGX, [AGX, AGX1], ["10.0.0.4:11436"]),
    "none whose port is closed to it": (node("N", "edge"), [AGX], []),
    "one that is open to the whole network": (node("N", "edge"), [OPEN], ["10.0.0.3:11436"]),
}


@pytest.mark.parametrize(("pulling", "nodes", "mirrors"), MIRRORS.values(), ids=MIRRORS)
def test_a_node_copies_from_mirrors_that_let_it_in(pulling, nodes, mirrors):
    assert model_mirrors([*nodes, pulling], pulling) == mirrors


action = import_file("action_plugins/ollama_model.py", "action_by_path")


GIVEN_UP, FIRST, SECOND = "not from a mirror: model b: damaged", "a is there", "b is there"
PULLING = "pulling b: about to start"
BEGUN = {"finished": False, "progress": "b: about to start", "messages": []}
MEANWHILE = {**BEGUN, "messages": [GIVEN_UP, FIRST]}
DONE = {"finished": True, "changed": True, "messages": [GIVEN_UP, FIRST, SECOND]}

TASKS: dict[str, tuple[Any, ...]] = {
    "a node with all its models costs one call": (True, [{**DONE, "messages": []}], [], [0]),
    "a long pull has a first line soon and then one a minute and says nothing twice": (True,
        [BEGUN, BEGUN, MEANWHILE, MEANWHILE, DONE],
        [PULLING, PULLING, GIVEN_UP, FIRST, PULLING, PULLING, SECOND], [0, 15, 30, 60, 60]),
    "nobody waits who need not": (False, [BEGUN], ["pulls beside the rest of this run"], [0]),
    "a failure ends the task": (True, [BEGUN, {**MEANWHILE, "finished": True, "failed": True}],
        [PULLING, GIVEN_UP, FIRST], [0, 15]),
    "a fault of the module ends it, too": (True, [BEGUN, {"failed": True, "msg": "?"}], [PULLING], [0, 15]),
}  # fmt: skip


@pytest.mark.parametrize(("waits", "results", "lines", "watched"), TASKS.values(), ids=TASKS)
def test_a_task_is_watched_to_its_end(waits, results, lines, watched, monkeypatch):
    calls: list[float] = []
    shown: list[str] = []

    def execute(_: Any, module_args: Any, **__: Any) -> Any:
        calls.append(module_args["watch_s"])
        return results[len(calls) - 1]

    monkeypatch.setattr(action.ActionBase, "run", lambda *_: {})
    monkeypatch.setattr(action.ActionBase, "_execute_module", execute)
    monkeypatch.setattr(action, "display", SimpleNamespace(display=shown.append))
    plugin = object.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(args={"wait": waits})
    assert plugin.run(task_vars={"node_name": "AGX0"}) == results[-1]
    assert [line.removeprefix("  AGX0: ") for line in shown] == lines
    assert calls == watched


LINES: dict[str, tuple[Any, ...]] = {
    "no size is declared": (0, [], "gpt-oss: about to start"),
    "nothing has come": (13.8, [], "gpt-oss: 0 % of 13.8 GB"),
    "nothing has come in this stream": (13.8, [4.6], "gpt-oss: 33 % of 13.8 GB"),
    "it is in the middle": (13.8, [0, 4.6], "gpt-oss: 33 % of 13.8 GB, 23.0 MB/s, 7 min left"),
    "it is at the end": (13.8, [0, 13.7], "gpt-oss: 99 % of 13.8 GB, 68.5 MB/s, less than a minute left"),
}


@pytest.mark.parametrize(("declared", "came", "line"), LINES.values(), ids=LINES)
def test_a_line_says_how_far_how_fast_how_long_when(monkeypatch, declared, came, line):
    clock = iter([1000, 1200])
    monkeypatch.setattr(pull, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    stream = pull.Pull("gpt-oss", int(declared * GIGA))
    for completed in came:
        stream.read(pulling(completed * GIGA, 13.8 * GIGA))
    assert str(stream) == line
