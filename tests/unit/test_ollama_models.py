"""Models as the controller sees them: differences and mirrors."""

from typing import Any

import pytest
from tables import cases

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


@cases(("pulling", "nodes", "mirrors"), {
    "the mirror of another node": (node("O", "secondary_ai"), [AGX], ["10.0.0.3:11436"]),
    "never its own": (AGX, [AGX, AGX1], ["10.0.0.4:11436"]),
    "none whose port is closed to it": (node("N", "edge"), [AGX], []),
    "one that is open to the whole network": (node("N", "edge"), [OPEN], ["10.0.0.3:11436"]),
})  # fmt: skip
def test_a_node_copies_from_mirrors_that_let_it_in(pulling, nodes, mirrors):
    assert model_mirrors([*nodes, pulling], pulling) == mirrors
