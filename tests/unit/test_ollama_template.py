"""What the role `ollama` puts on its nodes, and the model lists of the tiers."""

import json
from typing import Any

import pytest
from ansible.template import trust_as_template
from render import SOURCES, compose_of, hosts_running, render_role, renderer
from tree import load

from aicluster.models import normalise

AGX0, ORIN0, NANO = "192.168.1.154", "192.168.1.157", "192.168.1.159"
AI_TIERS = ("primary_ai", "secondary_ai", "edge")


def trusted(value: Any) -> Any:
    """Text of a task as Ansible takes it from a file: templates, at any depth."""
    if isinstance(value, dict):
        return {key: trusted(one) for key, one in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value


every_ai_tier = pytest.mark.parametrize("tier", AI_TIERS)


def container(host: str, inventory: str = "production") -> dict[str, Any]:
    merged: dict[str, Any] = compose_of("ollama", inventory=inventory, host=host)["services"]["ollama"]
    return merged


@pytest.mark.parametrize(
    ("host", "published"),
    [
        (AGX0, f"{AGX0}:11434:11434"),
        (ORIN0, f"{ORIN0}:11435:11434"),
        pytest.param(NANO, "127.0.0.1:11434:11434", id="the edge hands on what its nginx lets through"),
    ],
)
def test_the_published_port_differs_and_the_inner_one_does_not(host, published):
    rendered = container(host)
    assert rendered["ports"] == [published]
    assert rendered["environment"]["OLLAMA_HOST"] == "0.0.0.0:11434"


def test_a_board_with_a_gpu_gets_it_and_knows_its_jetpack():
    rendered = container(AGX0)
    assert rendered["runtime"] == "nvidia"
    assert rendered["environment"]["JETSON_JETPACK"] == "6"
    assert rendered["environment"]["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert not rendered["read_only"], "NVIDIA's hooks write into the root file system"


@pytest.mark.parametrize("inventory", sorted(SOURCES))
def test_the_engine_of_a_node_knows_the_runtime_its_container_asks_for(inventory):
    for host in hosts_running("ollama", inventory):
        daemon = json.loads(
            render_role("docker_engine", inventory=inventory, host=host)["/etc/docker/daemon.json"]
        )
        assert container(host, inventory).get("runtime", "runc") in {"runc", *daemon.get("runtimes", {})}


def test_a_node_without_a_gpu_has_no_trace_of_one():
    rendered = container("198.18.77.154", "lab")
    assert "runtime" not in rendered
    assert rendered["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void", "the image itself says `all`"
    assert not [
        name for name in rendered["environment"] if name.startswith(("NVIDIA_DRIVER", "JETSON", "CUDA"))
    ]
    assert rendered["read_only"]


def test_the_baseline_of_every_container_stays():
    rendered = container(AGX0)
    assert rendered["cap_drop"] == ["ALL"]
    assert rendered["mem_limit"] == "57344m"
    assert rendered["volumes"] == ["ollama:/root/.ollama"], "models are in a named volume"


def test_environment_values_are_text_as_compose_wants_them():
    assert all(isinstance(value, str) for value in container(ORIN0)["environment"].values())


@pytest.mark.parametrize(
    ("host", "context", "loaded"),
    [
        pytest.param(AGX0, "8192", "2", id="the big board"),
        pytest.param(ORIN0, "2048", "1", id="the small board"),
        pytest.param(NANO, "2048", "1", id="the smallest board"),
    ],
)
def test_context_and_models_in_memory_fit_the_board(host, context, loaded):
    environment = container(host)["environment"]
    assert environment["OLLAMA_CONTEXT_LENGTH"] == context
    assert environment["OLLAMA_MAX_LOADED_MODELS"] == loaded


@pytest.mark.parametrize(
    ("host", "url"),
    [
        (AGX0, f"http://{AGX0}:11434"),
        (ORIN0, f"http://{ORIN0}:11435"),
        pytest.param(NANO, "http://127.0.0.1:11434", id="a port for this machine alone is asked there"),
    ],
)
def test_the_node_asks_its_ollama_where_it_listens(host, url):
    rendering = renderer("production", host)
    service = rendering.shared["cluster_node"]["services"]["ollama"]
    variables = rendering.variables("ollama", {"service_name": "ollama", "service": service})
    state = rendering.state("ollama", variables)
    assert state["provision"]["probe"] == f"{url}/api/tags"


def test_the_edge_answers_on_the_cpu():
    assert "runtime" not in container(NANO)


# --- pulling ---


def arguments(host: str, inventory: str = "production", **more: Any) -> dict[str, Any]:
    """The task that pulls, with what a node gives to it."""
    rendering = renderer(inventory, host)
    service = rendering.shared["cluster_node"]["services"]["ollama"]
    variables = rendering.variables("ollama", {"service_name": "ollama", "service": service, **more})
    [task] = load("roles/ollama/tasks/provision.yml")
    given: dict[str, Any] = rendering._resolve(trusted(task["ollama_model"]), variables)
    return given


@pytest.mark.parametrize(
    ("host", "mirrors"),
    [
        pytest.param(ORIN0, [f"{AGX0}:11436"], id="the small board copies what the big one has"),
        pytest.param(AGX0, [], id="a node does not copy from itself"),
        pytest.param(NANO, [], id="the mirror's port is closed to the edge"),
    ],
)
def test_nodes_copy_from_each_other_before_they_ask_the_internet(host, mirrors):
    assert arguments(host)["mirrors"] == mirrors


def test_the_disk_that_is_looked_at_is_that_of_the_models_volume():
    volume = arguments(AGX0)["volume"]
    [mounted] = [v.split(":")[0] for v in container(AGX0)["volumes"] if v.endswith(":/root/.ollama")]
    assert volume == f"aicluster_{mounted}", "compose puts the project's name before the volume's"


def test_declared_sizes_count_on_boards_and_not_with_the_labs_small_models():
    assert {model["name"]: model["size_gb"] for model in arguments(AGX0)["models"]}["gpt-oss"] == 13.8
    assert not any(model["size_gb"] for model in arguments("198.18.77.154", "lab")["models"])


@pytest.mark.parametrize("later", [True, False], ids=["site.yml", "a tier alone"])
def test_a_pull_is_waited_for_unless_the_last_play_does(later):
    assert arguments(ORIN0, ollama_pull_later=later)["wait"] is not later


# --- the lists of the tiers ---


@every_ai_tier
def test_every_ai_tier_has_the_aliases_the_gateway_balances(tier):
    models = load(f"group_vars/{tier}/models.yml")
    assert set(models["ollama_aliases"]) == {"chat", "code"}
    names = {normalise(model["name"]) for model in models["ollama_models"] if model.get("state") != "absent"}
    assert {normalise(target) for target in models["ollama_aliases"].values()} <= names


@every_ai_tier
def test_models_fit_the_disk_with_room_for_an_update(tier):
    models = load(f"group_vars/{tier}/models.yml")["ollama_models"]
    placed = [s["ollama"] for s in load(f"group_vars/{tier}/services.yml")["node_services"] if "ollama" in s]
    assert sum(model["size_gb"] for model in models) * 1.25 < placed[0]["disk_gb"]
