"""Models are copied from the node that has them, and pulled beside the work of other tiers."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import site_under_test as site
from verified import all_is_healthy

# Seven minutes for a model of the lab, and a byte within the minute after which a pull counts as stuck.
BYTES_PER_S = 600
PATIENCE_S = 240
RATE_FILE = "/root/.ollama/lab/pull-bytes-per-s"


def digests(node: site.Node) -> dict[str, str]:
    """Model -> digest, as the node's Ollama lists them."""
    host = "127.0.0.1" if node.services["ollama"]["ports"]["api"]["from"] == ["localhost"] else node.address
    url = f"http://{host}:{node.port('ollama', 'api')}/api/tags"
    listed: list[dict[str, Any]] = json.loads(site.shell(node, f"curl -fsS {url}"))["models"]
    return {model["name"]: model["digest"] for model in listed}


def in_ollama(node: site.Node, command: str) -> str:
    return site.shell(node, f"{site.COMPOSE} exec -T ollama {command}")


def declared(node: site.Node) -> set[str]:
    """The models a node shall have, with their tags, without those behind aliases."""
    names = {model["name"] for model in site.variable(node, "ollama_models")}
    behind = set(site.variable(node, "ollama_aliases").values())
    return {name if ":" in name else f"{name}:latest" for name in names - behind}


@pytest.fixture(scope="module")
def big() -> site.Node:
    """The node others copy from."""
    return site.running("model_mirror")[0]


@pytest.fixture(scope="module")
def small() -> site.Node:
    """A node that may copy."""
    [found] = [node for node in site.running("ollama") if "secondary_ai" in node.groups]
    return found


def test_a_tier_alone_copies_a_model_another_node_has_and_ends_with_it_there(big, small):
    model = min(declared(big) & declared(small))
    in_ollama(small, f"ollama rm {model}")
    assert model not in digests(small)
    run = site.run_playbook("playbooks/secondary-ai.yml", "--limit", small.address).succeeded()
    mirror = f"{big.address}:{big.port('model_mirror', 'registry')}"
    assert f"{small.name}: {model} is there, copied from {mirror}" in run.output
    assert digests(small)[model] == digests(big)[model]
    assert not [name for name in digests(small) if mirror in name], "only its own name is left"
    assert run.changed[small.address] > 0
    assert site.run_site("--limit", small.address).changed[small.address] == 0


def test_models_can_be_waited_for_or_pulled_alone(small):
    model = min(declared(small))
    in_ollama(small, f"ollama rm {model}")
    run = site.run_playbook("playbooks/models.yml").succeeded()
    assert f"{small.name}: {model} is there" in run.output
    assert {host for host, count in run.changed.items() if count} == {small.address}


@pytest.fixture
def slow(big: site.Node) -> Iterator[site.Node]:
    """A node whose way to the internet is slow: its registry waits as long as the bytes take."""
    if "registry.py" not in in_ollama(big, "ls /usr/lib/ollama"):
        pytest.skip("only the lab's registry can be slowed down")
    in_ollama(big, f"sh -c 'mkdir -p {RATE_FILE.rpartition('/')[0]} && echo {BYTES_PER_S} > {RATE_FILE}'")
    yield big
    in_ollama(big, f"rm -f {RATE_FILE}")


def test_a_long_pull_does_not_hold_up_other_tiers(slow):
    later = site.running("alertmanager")[0]
    model = min(declared(slow))
    in_ollama(slow, f"ollama rm {model}")
    site.shell(later, f"{site.COMPOSE} stop alertmanager")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(site.run_site)
        deadline = time.monotonic() + PATIENCE_S
        while not run.done() and not site.shell(later, f"{site.COMPOSE} ps --quiet alertmanager").strip():
            assert time.monotonic() < deadline, "the monitoring tier waits"
            time.sleep(1)
        try:
            assert not run.done(), run.result().output
            assert model not in digests(slow), "it was not slow"
            began = site.shell(slow, "cat /run/aicluster/models.json")
            assert json.loads(began)["progress"].startswith(model.removesuffix(":latest"))
        finally:
            in_ollama(slow, f"sh -c 'echo 0 > {RATE_FILE}'")
    finished = run.result().succeeded()
    assert f"{slow.name}: pulls beside the rest of this run" in finished.output
    assert model in digests(slow)
    assert finished.output.index("PLAY [Monitoring tier]") < finished.output.index("PLAY [Models]")
    all_is_healthy()
