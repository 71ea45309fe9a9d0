"""The models a node was given, and the names the gateway balances."""

import http_client
import pytest


def models(node):
    listed = http_client.get(f"http://{node.address}:{node.port('ollama', 'api')}/api/tags").json()["models"]
    return {model["name"]: model["digest"] for model in listed}


def test_every_wanted_model_is_there(node, variable):
    wanted = {name if ":" in name else f"{name}:latest" for name in variable(node, "ollama_models")}
    assert wanted <= set(models(node))


@pytest.mark.parametrize("alias", ["chat", "code"])
def test_an_alias_is_one_of_the_models(node, variable, alias):
    target = variable(node, "ollama_aliases")[alias]
    target = target if ":" in target else f"{target}:latest"
    found = models(node)
    assert found[f"{alias}:latest"] == found[target]
