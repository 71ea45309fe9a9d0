"""What the controller makes of an answer of Ollama, and the mirrors a node may copy models from."""

from typing import Any

import pytest

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
