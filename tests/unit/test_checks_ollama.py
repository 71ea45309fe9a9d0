"""The check of Ollama: models, one token, and the GPU where the container was given one."""

import json
import re
from typing import Any

import pytest
import render
from a_kit import SLOW, Said, ScriptedKit, check_of, failure_of, site

ollama = check_of("ollama")
GENERATE = "POST /api/generate"


@pytest.fixture(autouse=True)
def wanted(tmp_path, monkeypatch):
    file = tmp_path / "ollama.json"
    monkeypatch.setattr(ollama, "WANTED", str(file))

    def want(models: list[str], aliases: list[str], gpu: bool = False) -> None:
        file.write_text(json.dumps({"models": models, "aliases": aliases, "gpu": gpu}))

    want(["llama3.2", "codellama:7b"], ["chat", "code"])
    return want


@pytest.fixture
def gpu(wanted):
    wanted(["codellama:7b"], ["code"], gpu=True)


def model(name: str, size: int = 9, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, **more}


def tags(*names: str) -> dict[str, Said]:
    """What is there; the later in the list, the smaller."""
    listed = [model(name, 900 - 100 * index) for index, name in enumerate(names)]
    return {"GET /api/tags": (200, {"models": listed})}


def loaded(*models: dict[str, Any]) -> dict[str, Said]:
    """What is in memory."""
    return {"GET /api/ps": (200, {"models": models})}


def kit_of(changed: dict[str, Said] | None = None) -> ScriptedKit:
    """An Ollama that works, but for what is changed."""
    healthy: dict[str, Said] = {
        "GET /api/version": (200, {"version": "0.32.15"}),
        GENERATE: (200, {"done": True, "response": "Yes", "eval_count": 1}),
        **tags("llama3.2:latest", "codellama:7b", "chat:latest", "code:latest"),
        **loaded(),
    }
    return ScriptedKit(site("AGX0", {"ollama": {"api": 11434}}), healthy | (changed or {}))


def test_the_smallest_alias_is_asked_for_a_single_token():
    questions = []

    def generate(data: Any, _headers: Any) -> Any:
        questions.append(data)
        return 200, {"done": True, "eval_count": 1}

    evidence = ollama.check(kit_of({GENERATE: generate}))
    assert re.fullmatch(
        r"Ollama 0\.32\.15, all of 2 models; code:latest answers in \d\.\d s, on the CPU", evidence
    )
    [question] = questions
    assert question["model"] == "code:latest"
    assert question["options"] == {"num_predict": 1}


FAILED: dict[str, tuple[Any, ...]] = {
    "an alias is missing": (tags("llama3.2:latest", "codellama:7b", "chat:latest"),
        "no model named code:latest"),
    "a model without an alias is missing": (tags("codellama:7b", "chat:latest", "code:latest"),
        "no model named llama3.2:latest"),
    "no token": ({GENERATE: (200, {"done": True, "eval_count": 0})}, "code:latest generated no token"),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "evidence"), FAILED.values(), ids=FAILED)
def test_an_ollama_that_does_not_work_has_failed(changed, evidence):
    assert evidence in failure_of(ollama.check, kit_of(changed)).evidence


@pytest.mark.parametrize(
    ("in_memory", "state"), [([], "is still being loaded"), ([model("code:latest")], "is in memory and busy")]
)
def test_slow_is_told_from_failed(in_memory, state):
    found = failure_of(ollama.check, kit_of({GENERATE: SLOW, **loaded(*in_memory)}))
    assert re.fullmatch(f"code:latest gave no token within .* and {state}", found.evidence)
    assert "curl -m 900" in found.next_command


@pytest.mark.parametrize(("in_memory", "end"), [
    pytest.param([model("code:latest", 100, size_vram=100)], "s, 100 % on the GPU", id="all of it"),
    pytest.param([model("code:latest", 100, size_vram=60)], "s, 60 % on the GPU", id="a part of it"),
])  # fmt: skip
@pytest.mark.usefixtures("gpu")
def test_a_container_with_the_gpu_says_how_much_is_there(in_memory, end):
    assert re.search(f"{end}$", ollama.check(kit_of(loaded(*in_memory))))


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_silently_not_used_is_a_failure():
    kit = kit_of(loaded(model("code:latest", 100, size_vram=0)))
    assert "code:latest runs on the CPU although" in failure_of(ollama.check, kit).evidence


def test_a_node_of_which_no_model_is_wanted_is_asked_for_none(wanted):
    wanted([], [])
    kit = kit_of(tags())
    assert ollama.check(kit) == "Ollama 0.32.15; no models are declared here"
    assert kit.asked == ["GET /api/version", "GET /api/tags"]


def test_what_is_wanted_is_what_the_inventory_says(monkeypatch):
    models = [{"name": "a"}, {"name": "b:1b", "state": "present"}, {"name": "c", "state": "absent"}]
    chosen = render.choose(monkeypatch, ollama_models=models, ollama_aliases={"chat": "a"})
    written = render.render_role("ollama", overrides=chosen)["/opt/aicluster/checks/ollama.json"]
    assert json.loads(written) == {"models": ["a", "b:1b"], "aliases": ["chat"], "gpu": True}
