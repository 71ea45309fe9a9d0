"""The check of Ollama: aliases, one token, and the GPU where the container was given one."""

import re
from typing import Any

import pytest
from aicluster_verify import Broken
from by_path import import_file
from fake_service import FakeKit, Says, serving

ollama = import_file("roles/ollama/templates/opt/aicluster/checks/ollama.py", "check_ollama")
TOKEN = Says(body={"done": True, "response": "Yes", "eval_count": 1})


def model(name: str, size: int = 9, **more: Any) -> dict[str, Any]:
    return {"name": name, "size": size, **more}


def check(said: str = "", **changes: Any) -> tuple[str, Any]:
    """The evidence, and what was asked; a keyword is the answer of /api/<keyword>."""
    answers = {
        "version": Says(body={"version": "0.32.15"}),
        "tags": Says(body={"models": [model("chat:latest", 900), model("code:latest", 100)]}),
        "ps": Says(body={"models": []}),
        "generate": TOKEN,
    } | changes
    paths = {f"{'POST' if name == 'generate' else 'GET'} /api/{name}": says for name, says in answers.items()}
    with serving(paths) as service:
        return ollama.check(FakeKit(service, said=said)), service.asked


def test_the_smallest_alias_is_asked_for_a_single_token():
    evidence, asked = check()
    assert re.fullmatch(r"Ollama 0\.32\.15, code answers in \d\.\d s, on the CPU", evidence)
    [question] = [one.body for one in asked if one.path == "/api/generate"]
    assert question["model"] == "code"
    assert question["options"] == {"num_predict": 1}


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        pytest.param({"version": Says(500)}, "answered 500 instead of 200", id="it does not answer"),
        pytest.param(
            {"tags": Says(body={"models": [model("chat:latest")]})},
            "no model named code",
            id="an alias is missing",
        ),
        pytest.param(
            {"generate": Says(500, {"error": "unable to load model"})}, "unable to load", id="it cannot load"
        ),
        pytest.param(
            {"generate": Says(body={"done": True, "eval_count": 0})}, "code generated no token", id="no token"
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
    monkeypatch.setattr(ollama, "ANSWER_LIMIT_S", 0.2)
    with pytest.raises(Broken, match=f"code gave no token within .* and {state}") as broken:
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
def test_a_container_with_the_gpu_says_how_much_is_there(loaded, end):
    evidence, _ = check(said="all\n", ps=Says(body={"models": loaded}))
    assert re.search(f"{end}$", evidence)


def test_a_gpu_that_is_silently_not_used_is_broken():
    with pytest.raises(Broken, match="code runs on the CPU although the container has the GPU"):
        check(said="all\n", ps=Says(body={"models": [model("code:latest", 100, size_vram=0)]}))
