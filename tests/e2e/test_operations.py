"""Maintenance under load: a node is drained and comes back, all AI nodes are restarted; no request is lost.

For `make test-full`: each of them takes a minute.
"""

from collections.abc import Iterator
from pathlib import Path

import http_client
import pytest
import site_under_test as site
from load import QUESTION, Load, all_by, balanced
from project_copy import copy_of_the_project
from verified import verify

pytestmark = pytest.mark.full
AGX0, ORIN0 = site.node("AGX0"), site.node("ORIN0")
GATEWAY = site.running("kong")[0]
STARTED = f"docker inspect --format '{{{{.State.StartedAt}}}}' $({site.COMPOSE} ps --quiet ollama)"
WANTED = "/opt/aicluster/checks/ollama.json"


@pytest.fixture
def load(gateway_url: str, api_key: str) -> Iterator[Load]:
    """Chats as long as the test runs; in the end the nodes share them again and none was lost."""
    with Load(lambda: http_client.post(f"{gateway_url}/api/v1/chat", QUESTION, api_key)) as under_way:
        under_way.wait_until(balanced, window=20, limit_s=60)
        yield under_way
        under_way.wait_until(balanced, window=20, limit_s=60)
    assert under_way.failed() == []


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """A copy of the project, which has the list of drained nodes; afterwards no node is drained."""
    project = copy_of_the_project(tmp_path / "project")
    yield project
    drain(project, AGX0, "-e", "back=true").succeeded()
    # The control node keeps a copy of the project, and this one is gone.
    site.run_site("--limit", ",".join(node.address for node in site.running("control_node"))).succeeded()


def drain(project: Path, node: site.Node, *more: str) -> site.Run:
    return site.run_playbook("playbooks/drain.yml", "-e", f"node={node.name}", *more, root=project)


def test_a_drained_node_gets_nothing_until_it_is_taken_in_again(load: Load, project: Path):
    predicted = drain(project, AGX0, "--check").succeeded()
    load.wait_until(balanced, window=20, limit_s=20)
    done = drain(project, AGX0).succeeded()
    assert "answered by ORIN0: chat" in " ".join(done.output.split())
    assert {host for host, count in predicted.changed.items() if count} >= {GATEWAY.entry["host"]}
    load.wait_until(all_by("ORIN0"), window=20, limit_s=20)
    again = site.run_playbook("site.yml", "--limit", GATEWAY.entry["host"], root=project).succeeded()
    assert again.changed == {GATEWAY.entry["host"]: 0}
    load.wait_until(all_by("ORIN0"), window=20, limit_s=20)
    warnings = [warning["text"] for warning in verify("--limit", GATEWAY.entry["host"]).report["warnings"]]
    assert any(text.startswith("AGX0 is drained") for text in warnings), warnings
    refused = drain(project, ORIN0)
    assert refused.code and "undrain AGX0 first" in " ".join(refused.output.split())
    drain(project, AGX0, "-e", "back=true").succeeded()


def started() -> dict[str, str]:
    return {node.name: site.shell(node, STARTED).strip() for node in site.running("ollama")}


@pytest.mark.usefixtures("load")
def test_all_ai_nodes_are_restarted_one_after_the_other():
    before = started()
    site.run_playbook("playbooks/restart.yml").succeeded()
    assert not before.items() & started().items()


@pytest.fixture
def without_a_model() -> Iterator[None]:
    """The check of AGX0's Ollama misses a model."""
    site.shell(AGX0, f"mv {WANTED} {WANTED}.kept; sed 's/: \\[/: [\"none\", /' {WANTED}.kept > {WANTED}")
    yield
    site.shell(AGX0, f"mv {WANTED}.kept {WANTED}")


@pytest.mark.usefixtures("load", "without_a_model")
def test_the_first_node_whose_check_fails_ends_the_restart():
    before = started()
    stopped = site.run_playbook("playbooks/restart.yml")
    assert stopped.code and "AGX0: Ollama" in stopped.output, stopped.output
    assert {name for name, moment in started().items() if moment != before[name]} == {"AGX0"}
