"""What a node is told of the cluster for its own verify."""

from typing import Any

import pytest

from aicluster.errors import SiteError
from aicluster.verify.told import verify_site


def node(name: str, **entry: Any) -> dict[str, Any]:
    ports = {
        "http": {"port": 8080, "container": 80, "from": ["lan"]},
        "admin": {"port": 8081, "container": 81, "from": ["localhost"]},
        "inner": {"port": 8082, "container": 82, "from": []},
    }
    service = {"image": "web:1.0", "memory_mb": 64, "secrets": ["web_password"], "ports": ports, **entry}
    where = {"name": name, "host": f"{name}.example", "address": f"10.0.0.{len(name)}", "tier": "edge"}
    return {**where, "share": None, "profiles": {"day": ["web"], "night": []}, "services": {"web": service}}


@pytest.mark.parametrize(("health", "limit_s"), [
    ({"start_s": 240, "interval_s": 25, "timeout_s": 10, "retries": 3}, 345),
    (None, 0),
], ids=["its health check allows", "without one"])  # fmt: skip
def test_the_node_knows_how_long_a_container_may_take_to_become_healthy(health, limit_s):
    assert verify_site([node("A", health=health)], "A")["services"]["web"]["health_limit_s"] == limit_s


def test_a_name_that_is_no_node_is_refused_with_the_names_that_are():
    with pytest.raises(SiteError, match="node C: is not in the cluster; it has A, BB"):
        verify_site([node("A"), node("BB")], "C")
