"""The models a node was given, and the names the gateway balances."""

import http_client
import pytest
import site_under_test as site


def models(node):
    listed = http_client.get(f"http://{node.address}:{node.port('ollama', 'api')}/api/tags").json()["models"]
    return {model["name"]: model["digest"] for model in listed}


def full(name):
    return name if ":" in name else f"{name}:latest"


def test_the_models_of_the_node_are_there_and_the_absent_ones_are_not(node):
    listed = site.variable(node, "ollama_models")
    wanted = {full(model["name"]) for model in listed if model.get("state", "present") == "present"}
    unwanted = {full(model["name"]) for model in listed} - wanted
    assert wanted <= set(models(node))
    assert not unwanted & set(models(node))


@pytest.mark.parametrize("alias", ["chat", "code"])
def test_an_alias_is_one_of_the_models(node, alias):
    target = full(site.variable(node, "ollama_aliases")[alias])
    found = models(node)
    assert found[f"{alias}:latest"] == found[target]
