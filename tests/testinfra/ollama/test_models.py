"""The models a node was given, and the names the gateway balances."""

import json

import pytest
import site_under_test as site


def models(host, node):
    """Name -> digest, asked on the node: what only nginx hands on is not published to others."""
    port = node.services["ollama"]["ports"]["api"]
    address = "127.0.0.1" if port["from"] == ["localhost"] else node.address
    listed = json.loads(host.check_output("curl -fsS http://%s:%s/api/tags", address, str(port["port"])))[
        "models"
    ]
    return {model["name"]: model["digest"] for model in listed}


def full(name):
    return name if ":" in name else f"{name}:latest"


def test_the_models_of_the_node_are_there_and_the_absent_ones_are_not(host, node):
    listed = site.variable(node, "ollama_models")
    wanted = {full(model["name"]) for model in listed if model.get("state", "present") == "present"}
    unwanted = {full(model["name"]) for model in listed} - wanted
    there = models(host, node)
    assert wanted <= set(there)
    assert not unwanted & set(there)


@pytest.mark.parametrize("alias", ["chat", "code"])
def test_an_alias_is_one_of_the_models(host, node, alias):
    target = full(site.variable(node, "ollama_aliases")[alias])
    found = models(host, node)
    assert found[f"{alias}:latest"] == found[target]
