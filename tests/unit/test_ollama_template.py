"""What the role `ollama` puts on its nodes, and the model lists of the tiers."""

import json
from typing import Any

import pytest
from ansible.template import trust_as_template
from render import SOURCES, container, hosts_running, render_role, renderer
from tree import load

from aicluster.models import normalise

AGX0 = "192.168.1.154"


def trusted(value: Any) -> Any:
    """Text of a task as Ansible takes it from a file: templates, at any depth."""
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value


@pytest.mark.parametrize("service", ["comfyui", "ollama"])
def test_a_board_with_a_gpu_gets_it_and_a_node_without_one_no_trace_of_it(service):
    board, lab = container(service), container(service, inventory="lab")
    assert board["runtime"] == "nvidia" and board["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert not board["read_only"], "NVIDIA's hooks write into the root file system"
    assert "runtime" not in lab and lab["read_only"]
    assert lab["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void", "the image itself says `all`"
    assert not [name for name in lab["environment"] if name.startswith(("NVIDIA_DRIVER", "CUDA"))]


@pytest.mark.parametrize("inventory", sorted(SOURCES))
def test_the_engine_of_a_node_knows_the_runtime_its_container_asks_for(inventory):
    for host in hosts_running("ollama", inventory):
        daemon = json.loads(
            render_role("docker_engine", inventory=inventory, host=host)["/etc/docker/daemon.json"]
        )
        runtime = container("ollama", inventory=inventory, host=host).get("runtime", "runc")
        assert runtime in {"runc", *daemon.get("runtimes", {})}


def arguments(host: str, inventory: str = "production") -> dict[str, Any]:
    rendering = renderer(inventory, host)
    service = rendering.shared["cluster_node"]["services"]["ollama"]
    variables = rendering.variables("ollama", {"service_name": "ollama", "service": service})
    [task] = load("roles/ollama/tasks/provision.yml")
    given: dict[str, Any] = rendering._resolve(trusted(task["ollama_model"]), variables)
    return given


def test_declared_sizes_count_on_boards_and_not_with_the_labs_small_models():
    assert {model["name"]: model["size_gb"] for model in arguments(AGX0)["models"]}["gpt-oss"] == 13.8
    assert not any(model["size_gb"] for model in arguments("198.18.77.154", "lab")["models"])


@pytest.mark.parametrize("tier", ["primary_ai", "secondary_ai", "edge"])
def test_every_ai_tier_has_the_aliases_the_gateway_balances(tier):
    models = load(f"group_vars/{tier}/models.yml")
    assert set(models["ollama_aliases"]) == {"chat", "code"}
    names = {normalise(model["name"]) for model in models["ollama_models"] if model.get("state") != "absent"}
    assert {normalise(target) for target in models["ollama_aliases"].values()} <= names
