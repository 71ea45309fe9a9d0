"""What a node is told of the cluster for its own verify."""

import pytest

from aicluster.verify.told import verify_site


@pytest.mark.parametrize(("health", "limit_s"), [
    ({"start_s": 240, "interval_s": 25, "timeout_s": 10, "retries": 3}, 345),
    (None, 0),
], ids=["its health check allows", "without one"])  # fmt: skip
def test_the_node_knows_how_long_a_container_may_take_to_become_healthy(health, limit_s):
    service = {"image": "web:1.0", "memory_mb": 64, "secrets": [], "ports": {}, "health": health}
    where = {"name": "A", "host": "a", "address": "10.0.0.1", "tier": "edge"}
    told = verify_site([{**where, "share": None, "profiles": {}, "services": {"web": service}}], "A")
    assert told["services"]["web"]["health_limit_s"] == limit_s
