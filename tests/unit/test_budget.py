"""What is planned on a node, and what its models need, against what it has."""

from typing import Any

import pytest

from aicluster.budget.models import model_budget
from aicluster.budget.nodes import node_budget


def service(memory_mb: Any = 100, disk_gb: Any = 1, **more: Any) -> dict[str, Any]:
    return {"image": "x:1.0", "architectures": ["arm64"], "memory_mb": memory_mb, "disk_gb": disk_gb, **more}


def node(services: dict[str, Any], **more: Any) -> dict[str, Any]:
    board = {"memory_mb": 2048, "memory_reserved_mb": 350, "disk_gb": 100, "disk_reserved_gb": 8}
    return {"name": "PI41", "ssh_port": 22, "architecture": "arm64", **board, "services": services, **more}


def account(services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return node_budget([node(services, **more)])[0]


def test_the_account_adds_up_what_is_reserved_and_what_the_services_may_use():
    assert account({"a": service(500, 10), "b": service(200, 20)}) == {
        "node": "PI41",
        "memory_mb": 2048,
        "memory_planned_mb": 1050,
        "memory_free_mb": 998,
        "disk_gb": 100,
        "disk_planned_gb": 38,
        "disk_free_gb": 62,
        "problems": [],
    }


BOARD = {"web": service(100), "chat": service(1000, 10), "paint": service(1500, 20)}


def test_memory_is_that_of_the_hungriest_profile_and_disk_that_of_all_services():
    figures = account(BOARD, profiles={"llm": ["chat"], "image": ["paint"]})
    assert figures["memory_planned_mb"] == 350 + 100 + 1500
    assert figures["disk_planned_gb"] == 8 + 1 + 10 + 20
    assert figures["problems"] == []


OLLAMA = {"memory_mb": 10_000, "disk_gb": 100}  # 10.5 GB, 107.4 GB


def model(name: str, size_gb: float = 1, loaded_gb: float | None = 2, **more: Any) -> dict[str, Any]:
    return {"name": name, "size_gb": size_gb, "loaded_gb": loaded_gb, **more}


def problems(*models: dict[str, Any], **variables: Any) -> list[str]:
    aliases = variables.pop("aliases", {})
    return model_budget({"ollama_models": [*models], "ollama_aliases": aliases, **variables}, "AGX0", OLLAMA)


FITTING: dict[str, list[dict[str, Any]]] = {
    "no models": [],
    "a model and its update fill the disk": [model("a", size_gb=53.6)],
    "a model fills the memory": [model("a", loaded_gb=10.4)],
    "nothing is said of memory": [model("a", loaded_gb=None)],
    "what shall be absent needs nothing": [model("a"), model("gone", size_gb=500, state="absent")],
}


@pytest.mark.parametrize("models", FITTING.values(), ids=FITTING)
def test_what_fits_has_no_problem(models):
    assert problems(*models) == []


def test_a_model_that_fits_into_no_memory_is_named_with_both_numbers():
    [problem] = problems(model("big", loaded_gb=10.6))
    assert "big of AGX0 10.6 GB loaded: must fit into the 10.5 GB (10000 MiB) of ollama" in problem


def test_the_hungriest_that_may_be_loaded_together_must_fit_together():
    models = [model("a", loaded_gb=6), model("b", loaded_gb=5), model("c", loaded_gb=1)]
    assert problems(*models) == []
    [problem] = problems(*models, ollama_max_loaded_models=2)
    assert "11 GB loaded together (a 6 + b 5)" in problem
    assert "lower ollama_max_loaded_models" in problem


LISTS: dict[str, tuple[Any, ...]] = {
    "an alias of a model by its name": (["a"], {"chat": "a"}, []),
    "an alias of a model with its tag": (["a"], {"chat": "a:latest"}, []),
    "an alias of a model that is not listed": (
        ["a"], {"chat": "b"}, ["alias chat of AGX0 'b': must be the name"]),
    "an alias with the name of a model": (
        ["a", "b"], {"b": "a"}, ["alias b of AGX0: must not be a listed model"]),
    "a model that is listed twice": (
        ["a", "a:latest"], {}, ["model a:latest of AGX0 2 times: must be listed"]),
}  # fmt: skip


@pytest.mark.parametrize(("names", "aliases", "found"), LISTS.values(), ids=LISTS)
def test_the_lists_of_models_and_aliases_agree(names, aliases, found):
    listed = problems(*map(model, names), aliases=aliases)
    assert [problem[: len(start)] for problem, start in zip(listed, found, strict=True)] == found
