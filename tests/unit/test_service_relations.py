"""What services need of each other, wherever placement put them."""

from typing import Any

import pytest

from aicluster.site.relations import service_relations


def node(name: str, tier: str, **services: Any) -> dict[str, Any]:
    return {"name": name, "host": name, "tier": tier, "services": services}


EXPORTER: dict[str, Any] = {
    "ports": {"metrics": {"port": 9100, "from": ["gateway"]}},
    "metrics": {"port": "metrics", "path": "/metrics"},
}


@pytest.mark.parametrize(("audience", "problems"), [
    (["gateway"], 0), (["lan"], 0), (["backend"], 1), ([], 1),
], ids=["open to its tier", "open to the LAN", "open to another tier only", "open to nobody"])  # fmt: skip
def test_a_port_with_metrics_must_be_open_to_the_tier_of_prometheus(audience, problems):
    service = EXPORTER | {"ports": {"metrics": {"port": 9100, "from": audience}}}
    found = service_relations([node("A", "gateway", prometheus={}), node("B", "backend", exporter=service)])
    assert len(found) == problems
    assert all("must include gateway" in text and "prometheus on A" in text for text in found)


def test_a_neighbour_of_prometheus_needs_no_open_port():
    service = EXPORTER | {"ports": {"metrics": {"port": 9100, "from": []}}}
    assert service_relations([node("A", "gateway", prometheus={}, exporter=service)]) == []
