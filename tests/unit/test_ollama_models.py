"""The filter `ollama_differences`, and that it agrees with the module which removes the differences."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.aicluster_models.names import normalise
from ansible.module_utils.aicluster_models.plan import predict

from aicluster.errors import SiteError
from aicluster.models import model_mirrors, ollama_differences


def tags(**digests: str) -> dict[str, Any]:
    return {
        "models": [{"name": name.replace("__", ":"), "digest": digest} for name, digest in digests.items()]
    }


PHI = [{"name": "phi3:mini", "size_gb": 2.3}]


DIFFERENCES: dict[str, tuple[Any, ...]] = {
    "a silent server has nothing": (None, PHI, {}, ["model phi3:mini: pull"]),
    "an alias has the model's digest": (tags(phi3__mini="d", chat__latest="d"), PHI, {"chat": "phi3:mini"},
        []),
    "an alias with another digest is made again": (tags(phi3__mini="new", chat__latest="old"), PHI,
        {"chat": "phi3:mini"}, ["alias chat -> phi3:mini: make"]),
    "an alias whose model is missing is made after the pull": (tags(chat__latest="d"), PHI,
        {"chat": "phi3:mini"}, ["model phi3:mini: pull", "alias chat -> phi3:mini: make"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "models", "aliases", "differences"), DIFFERENCES.values(), ids=DIFFERENCES
)
def test_differences(answer, models, aliases, differences):
    assert ollama_differences(answer, models, aliases) == differences

    installed = {normalise(m["name"]): m["digest"] for m in (answer or {}).get("models") or []}
    todo = predict(installed, models, aliases, [])
    assert differences == [
        *(f"model {name}: remove" for name in todo["removed"]),
        *(f"model {name}: pull" for name in todo["pulled"]),
        *(f"alias {pair}: make" for pair in todo["aliased"]),
    ], "the module would do something else"


def test_another_service_on_the_port_is_said():
    with pytest.raises(SiteError, match="not an answer of GET /api/tags"):
        ollama_differences({"models": ["x"]}, [], {})


def node(name: str, tier: str, *, mirror_for: list[str] | None = None) -> dict[str, Any]:
    ports = {"registry": {"port": 11436, "container": 11436, "from": mirror_for}}
    services = {} if mirror_for is None else {"model_mirror": {"ports": ports}}
    return {"name": name, "tier": tier, "address": f"10.0.0.{len(name)}", "services": services}


AI_TIERS = ["primary_ai", "secondary_ai"]


MIRRORS: dict[str, tuple[Any, ...]] = {
    "the mirror of another node": (node("O", "secondary_ai"),
        [node("AGX", "primary_ai", mirror_for=AI_TIERS)], ["10.0.0.3:11436"]),
    "never its own": (node("AGX", "primary_ai", mirror_for=AI_TIERS),
        [node("AGX", "primary_ai", mirror_for=AI_TIERS), node("AGX1", "primary_ai", mirror_for=AI_TIERS)],
        ["10.0.0.4:11436"]),
    "none whose port is closed to it": (node("N", "edge"), [node("AGX", "primary_ai", mirror_for=AI_TIERS)],
        []),
    "one that is open to the whole network": (node("N", "edge"),
        [node("AGX", "primary_ai", mirror_for=["lan"])], ["10.0.0.3:11436"]),
}  # fmt: skip


@pytest.mark.parametrize(("pulling", "nodes", "mirrors"), MIRRORS.values(), ids=MIRRORS)
def test_a_node_copies_from_mirrors_that_let_it_in(pulling, nodes, mirrors):
    assert model_mirrors([*nodes, pulling], pulling) == mirrors
