"""A node leaves the balancing and comes back: who answers then, what is written, and what is refused."""

from typing import Any

import pytest
import render
import yaml

from aicluster.errors import SiteError
from aicluster.gateway.draining import draining

NODES = render.cluster("production")
HOST = {node["name"]: node["host"] for node in NODES}
# Of another inventory, which has the same file.
FOREIGN = "198.18.77.154"
MODELS = [{"name": "big", "substitute": "chat"}, {"name": "huge"}]
VARIABLES: dict[str, dict[str, Any]] = {
    "AGX0": {"ollama_models": ["small", "big", "huge"], "ollama_aliases": {"chat": "big"}},
    "ORIN0": {"ollama_models": ["small"], "ollama_aliases": {"chat": "small"}},
    "NANO": {"ollama_models": ["tiny"], "ollama_aliases": {"chat": "tiny"}},
}


def drained(
    name: str, *before: str, what: str = "drain", more: dict[str, Any] | None = None, by_hand: bool = False
) -> dict[str, Any]:
    """What follows for a node; `before`: names of drained nodes, `more`: variables of AGX0."""
    variables = {**VARIABLES, "AGX0": VARIABLES["AGX0"] | (more or {})}
    hostvars = [
        {"inventory_hostname": host, **variables.get(node, {})}
        | {"ollama_models": [{"name": one} for one in variables.get(node, {}).get("ollama_models", [])]}
        for node, host in HOST.items()
    ]
    nodes = [{**node, "drained": node["name"] in before} for node in NODES]
    listed = [FOREIGN, *([] if by_hand else [HOST[one] for one in before])]
    return draining(nodes, hostvars, MODELS, listed, name, what)


# The edge has one of them, too, and nobody else the other.
ALONE = {"ollama_aliases": {"chat": "big", "tiny": "big", "deep": "huge"}}


@pytest.mark.parametrize(("before", "name", "options", "hosts", "said"), [
    pytest.param([], "AGX0", {}, ["AGX0"], [
        "AGX0 gets no new requests from the gateway",
        "answered by ORIN0: chat, small",
        "on no other node; a substitute answers: big (chat)",
        "on no other node; answered 503: huge",
    ], id="the larger node: its own models are answered by a substitute, or not at all"),
    pytest.param([], "AGX0", {"more": ALONE, "what": "anyway"}, ["AGX0"], [
        "AGX0 gets no new requests from the gateway", "answered by ORIN0: chat, small",
        "answered by NANO, the edge: tiny", "on no other node; answered 503: deep, huge",
        "on no other node; a substitute answers: big (chat)",
    ], id="one that alone has an alias goes if that is wanted; what the edge has, too, it answers"),
    pytest.param(["AGX0"], "NANO", {}, ["AGX0", "NANO"], [
        "NANO gets no new requests from the gateway", "answered by ORIN0: chat",
        "on no other node; answered 503: tiny",
    ], id="the edge, beside another one"),
])  # fmt: skip
def test_it_is_said_who_answers_and_written_who_is_away(before, name, options, hosts, said):
    found = drained(name, *before, **options)
    wanted = [FOREIGN, *(HOST[one] for one in hosts)]
    assert (found["node"], found["host"], sorted(found["drained"])) == (name, HOST[name], sorted(wanted))
    assert yaml.safe_load(found["text"]) == {"site_drained": found["drained"]}
    assert said is None or found["said"] == said


@pytest.mark.parametrize(("before", "name", "options", "said"), [
    pytest.param([], "AGX1", {}, "drain: node 'AGX1': must be a node of the site; write AGX0", id="unknown"),
    pytest.param(["ORIN0"], "AGX0", {"what": "anyway"},
        "is the last one that requests are balanced over; undrain ORIN0 first", id="the last one"),
    pytest.param([], "AGX0", {"more": ALONE}, "no other node has the alias deep; give it to one in",
        id="one that alone has an alias"),
    pytest.param(["AGX0"], "AGX0", {"what": "undrain", "by_hand": True},
        f"remove that from host_vars/{HOST['AGX0']}/node.yml", id="back, though its own file keeps it away"),
])  # fmt: skip
def test_a_node_that_cannot_go_is_refused(before, name, options, said):
    with pytest.raises(SiteError, match=said):
        drained(name, *before, **options)


def test_what_playbooks_write_is_read_by_the_next_run(monkeypatch: pytest.MonkeyPatch):
    listed = {"site_drained": [HOST["AGX0"]], "site_capacities": {HOST["ORIN0"]: 21.5}}
    written = render.choose(monkeypatch, **listed)
    nodes = render.renderer("production", HOST["PI51"], written).shared["cluster_nodes"]
    assert [node["name"] for node in nodes if node["drained"] is not False] == ["AGX0"]
    assert {node["name"]: node["capacity"] for node in nodes if node["capacity"]} == {"ORIN0": 21.5}
