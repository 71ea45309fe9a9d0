"""The check of Ollama: models, one token, and the GPU where the container was given one."""

import json
import re
from typing import Any

import pytest
import render
from aicluster_verify import Broken
from by_path import import_file
from fake_service import FakeKit, Says, serving

ollama = import_file("roles/ollama/templates/opt/aicluster/checks/ollama.py", "check_ollama")
TOKEN = Says(body={"done": True, "response": "Yes", "eval_count": 1})


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


def tags(*names: str) -> Says:
    """What is there; the later in the list, the smaller."""
    return Says(body={"models": [model(name, 900 - 100 * index) for index, name in enumerate(names)]})


def check(**changes: Any) -> tuple[str, Any]:
    """The evidence, and what was asked; a keyword is the answer of /api/<keyword>."""
    answers = {
        "version": Says(body={"version": "0.32.15"}),
        "tags": tags("llama3.2:latest", "codellama:7b", "chat:latest", "code:latest"),
        "ps": Says(body={"models": []}),
        "generate": TOKEN,
    } | changes
    paths = {f"{'POST' if name == 'generate' else 'GET'} /api/{name}": says for name, says in answers.items()}
    with serving(paths) as service:
        return ollama.check(FakeKit(service)), service.asked


def test_the_smallest_alias_is_asked_for_a_single_token():
    evidence, asked = check()
    assert re.fullmatch(
        r"Ollama 0\.32\.15, all of 2 models; code:latest answers in \d\.\d s, on the CPU", evidence
    )
    [question] = [one.body for one in asked if one.path == "/api/generate"]
    assert question["model"] == "code:latest"
    assert question["options"] == {"num_predict": 1}


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        pytest.param({"version": Says(500)}, "answered 500 instead of 200", id="it does not answer"),
        pytest.param(
            {"tags": tags("llama3.2:latest", "codellama:7b", "chat:latest")},
            "no model named code:latest$",
            id="an alias is missing",
        ),
        pytest.param(
            {"tags": tags("codellama:7b", "chat:latest", "code:latest")},
            "no model named llama3.2:latest$",
            id="a model without an alias is missing",
        ),
        pytest.param(
            {"generate": Says(500, {"error": "unable to load model"})}, "unable to load", id="it cannot load"
        ),
        pytest.param(
            {"generate": Says(body={"done": True, "eval_count": 0})},
            "code:latest generated no token",
            id="no token",
        ),
    ],
)
def test_an_ollama_that_does_not_work_is_broken(changes, evidence):
    with pytest.raises(Broken, match=evidence):
        check(**changes)


@pytest.mark.parametrize(
    ("in_memory", "state"), [([], "is still being loaded"), ([model("code:latest")], "is in memory and busy")]
)
def test_slow_is_told_from_broken(monkeypatch, in_memory, state):
    monkeypatch.setattr(FakeKit, "left", lambda _kit: 0.2)
    with pytest.raises(Broken, match=f"code:latest gave no token within .* and {state}") as broken:
        check(ps=Says(body={"models": in_memory}), generate=Says(delay_s=1))
    assert "curl -m 900" in broken.value.next_command


@pytest.mark.parametrize(
    ("loaded", "end"),
    [
        pytest.param([model("code:latest", 100, size_vram=100)], "s, 100 % on the GPU", id="all of it"),
        pytest.param([model("code:latest", 100, size_vram=60)], "s, 60 % on the GPU", id="a part of it"),
        pytest.param([], r"\d s", id="unloaded since"),
    ],
)
@pytest.mark.usefixtures("gpu")
def test_a_container_with_the_gpu_says_how_much_is_there(loaded, end):
    evidence, _ = check(ps=Says(body={"models": loaded}))
    assert re.search(f"{end}$", evidence)


@pytest.mark.usefixtures("gpu")
def test_a_gpu_that_is_silently_not_used_is_broken():
    with pytest.raises(Broken, match="code:latest runs on the CPU although the container has the GPU"):
        check(ps=Says(body={"models": [model("code:latest", 100, size_vram=0)]}))


def test_a_node_of_which_no_model_is_wanted_is_asked_for_none(wanted):
    wanted([], [])
    evidence, asked = check(tags=tags())
    assert evidence == "Ollama 0.32.15; the site wants no models here"
    assert [one.path for one in asked] == ["/api/version", "/api/tags"]


def test_what_is_wanted_is_what_the_inventory_says(monkeypatch):
    models = [{"name": "a"}, {"name": "b:1b", "state": "present"}, {"name": "c", "state": "absent"}]
    chosen = render.choose(monkeypatch, ollama_models=models, ollama_aliases={"chat": "a"})
    written = render.render_role("ollama", overrides=chosen)["/opt/aicluster/checks/ollama.json"]
    assert json.loads(written) == {"models": ["a", "b:1b"], "aliases": ["chat"], "gpu": True}
