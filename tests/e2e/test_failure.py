"""What fails, a service or a model, is named with what to do about it, and stops nobody else."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import site_under_test as site

GATEWAY, BACKEND = site.running("kong")[0], site.running("postgres")[0]
[SMALL] = [node for node in site.running("ollama") if "secondary_ai" in node.groups]


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[site.Run, tuple[str, str]]]:
    """A run, and its wrong layer of the inventory.

    Redis runs as a user who may not read its data, a model does not exist, and Kong has another limit.
    """
    services = site.variable(BACKEND, "node_services")
    [redis] = [item["redis"] for item in services if isinstance(item, dict) and "redis" in item]
    others = [item for item in services if not (isinstance(item, dict) and "redis" in item)]
    placed = [*others, {"redis": redis | {"uid": 4242}}]
    models = [*site.variable(SMALL, "ollama_models"), {"name": "missing-model", "size_gb": 1.0}]
    wrong: dict[site.Node, dict[str, Any]] = {
        BACKEND: {"node_services": placed, "stack_wait_timeout_s": 10},
        SMALL: {"ollama_models": models},
        GATEWAY: {"kong_rate_limit_per_minute": 2999},
    }
    arguments = site.inventory_layer(tmp_path_factory.mktemp("layer"), wrong)
    yield site.run_site(*arguments), arguments
    site.run_site().succeeded()


def test_the_message_names_service_log_and_next_command(failed):
    run, _ = failed
    said = run.output
    assert run.code != 0
    assert re.search(rf"{BACKEND.name}: .*\bredis\b.* did not come up\.", said)
    assert "Permission denied" in said
    assert re.search(rf"Next: ssh .*@{re.escape(BACKEND.address)} sudo docker compose .* ps -a", said)


def test_a_model_that_does_not_exist_is_named_at_the_end(failed):
    """The error of a pull nobody waited for is told by the last play."""
    said = failed[0].output
    assert "model missing-model:" in said
    assert "look up name and tag" in said
    assert said.index("PLAY [Utility tier]") < said.index("model missing-model:")


def test_only_these_nodes_have_failed_and_the_others_converge(failed):
    run, layer = failed
    counts = dict(re.findall(r"^(\S+) +: .*failed=(\d+)", run.output, re.M))
    assert counts == {node.address: "1" if node in (BACKEND, SMALL) else "0" for node in site.nodes()}
    later_tier = site.run_site(*layer, "--check", "--limit", GATEWAY.address)
    assert later_tier.changed == {GATEWAY.address: 0}, later_tier.output
