"""The check of Ollama: one token of the smallest alias, on the GPU where the container was given one."""

import json
from typing import Any

import healthy
import pytest
import render
from a_kit import SLOW, check_of, failure_of

ollama = check_of("ollama")
GENERATE = "POST /api/generate"


@pytest.fixture(autouse=True)
def want(monkeypatch):
    def wanting(*models: str, aliases: tuple[str, ...] = (), gpu: bool = False) -> None:
        found = {"models": list(models), "aliases": list(aliases), "gpu": gpu}
        monkeypatch.setattr(ollama, "wanted", lambda: found)

    wanting("codellama:7b", aliases=("chat", "code"), gpu=True)
    return wanting


def kit_of(size_vram: int | None = None, **changed: Any) -> Any:
    """An Ollama whose model for code has 100 bytes, so many of them on the GPU; None: it is not in memory."""
    # Loaded under another name than the check asks for: its digest tells which it is.
    model = {"name": "codellama:7b", "digest": "code:latest", "size": 100, "size_vram": size_vram}
    loaded = [] if size_vram is None else [model]
    return healthy.kit_of("ollama", {"GET /api/ps": (200, {"models": loaded}), **changed})


@pytest.mark.parametrize(("size_vram", "state"), [
    pytest.param(None, "is still being loaded", id="not in memory"),
    pytest.param(0, "is in memory and busy", id="in memory"),
])  # fmt: skip
def test_slow_is_told_from_failed(size_vram, state):
    found = failure_of(ollama.check, kit_of(size_vram, **{GENERATE: SLOW}))
    assert found.evidence.startswith("code:latest gave no token within ")
    assert found.evidence.endswith(state)
    assert "curl -m 900" in found.next_command


@pytest.mark.parametrize(("size_vram", "percent"), [(100, "100 %"), (60, "60 %")])
def test_a_container_with_the_gpu_says_how_much_is_there(size_vram, percent):
    assert ollama.check(kit_of(size_vram)).endswith(f" s, {percent} on the GPU")


def test_a_gpu_that_is_silently_not_used_is_a_failure():
    assert "code:latest runs on the CPU although" in failure_of(ollama.check, kit_of(0)).evidence


def test_a_node_of_which_no_model_is_wanted_is_asked_for_none(want):
    want()
    kit = healthy.kit_of("ollama", healthy.tags())
    assert ollama.check(kit) == "Ollama 0.32.15; no models are declared here"
    assert kit.asked == ["GET /api/version", "GET /api/tags"]


def test_what_is_wanted_is_what_the_inventory_says(monkeypatch):
    models = [{"name": "a"}, {"name": "b:1b", "state": "present"}, {"name": "c", "state": "absent"}]
    chosen = render.choose(monkeypatch, ollama_models=models, ollama_aliases={"chat": "a"})
    written = render.render_role("ollama", overrides=chosen)["/opt/aicluster/checks/ollama.json"]
    assert json.loads(written) == {"models": ["a", "b:1b"], "aliases": ["chat"], "gpu": True}
