"""The check of nginx: what it serves on the gateway, on the edge and on another node."""

import threading
from typing import Any

import pytest
from a_kit import SLOW, Said, ScriptedKit, check_of, failure_of, in_turn, site

nginx = check_of("nginx")
CHAT = "POST /api/v1/chat"
NANO = "POST http://10.0.0.6:8080/api/chat"
MESSAGE = {"message": {"role": "assistant", "content": ""}}
ANSWER = (200, MESSAGE, ("X-AI-Node", "AGX0"))
OF_NANO = (200, MESSAGE, ("X-AI-Node", "NANO"))
SLOWLY = "a model that is not in memory may need longer"
Changed = dict[str, Said | None]


def kit_of(tier: str, services: list[str], answers: Changed, edge: bool = False) -> ScriptedKit:
    """A node with nginx; `edge`: another one that answers when no AI node does."""
    cluster: list[dict[str, Any]] = [
        {"name": "N", "tier": tier, "services": {"prometheus": {}}},
        {"name": "EMPTY", "tier": "edge", "services": {}},
    ]
    if edge:
        there = {"nginx": {"ports": {"http": 8080}}, "ollama": {}}
        cluster.append({"name": "NANO", "tier": "edge", "address": "10.0.0.6", "services": there})
    ports: dict[str, dict[str, int]] = {name: {} for name in services}
    return ScriptedKit(
        site("N", ports | {"nginx": {"http": 80}}, cluster),
        {"GET /healthz": (200, ""), **answers},
        secrets={"kong/api_key": "the-key"},
    )


def gateway(changed: Changed | None = None, edge: bool = False) -> ScriptedKit:
    healthy: Changed = {
        "GET /": (200, '<script src="portal.js">'),
        "GET /portal/health": (200, ""),
        CHAT: ANSWER,
        NANO: OF_NANO,
    }
    return kit_of("gateway", ["kong"], healthy | (changed or {}), edge)


# --- the gateway ---


def test_an_answer_of_the_edge_is_told_as_what_it_is():
    kit = gateway({CHAT: (*OF_NANO, ("X-AI-Fallback", "NANO"))})
    assert nginx.check(kit).endswith("; a chat is answered by NANO because no AI node does")


def test_the_edge_is_asked_without_the_key_while_an_ai_node_still_loads_its_model():
    at_the_edge = threading.Event()

    def loading(_data: Any, _headers: Any) -> Any:
        return ANSWER if at_the_edge.wait(5) else (500, "the edge was not asked")

    def edge_chat(_data: Any, headers: Any) -> Any:
        assert "apikey" not in headers, "the key is for the gateway"
        at_the_edge.set()
        return OF_NANO

    found = nginx.check(gateway({CHAT: loading, NANO: edge_chat}, edge=True))
    assert found.endswith("a chat is answered by AGX0; NANO would if no AI node did")


@pytest.mark.parametrize(("said", "caused_by"), [
    pytest.param((502, {}), ["nginx on NANO"], id="its nginx is down"),
    pytest.param(SLOW, ["ollama on NANO", "nginx on NANO"], id="no answer in time"),
])  # fmt: skip
def test_an_edge_that_would_not_answer_is_told_by_the_gateway(said, caused_by):
    found = failure_of(nginx.check, gateway({NANO: said}, edge=True))
    assert "NANO would not answer when no AI node does" in found.evidence
    assert found.caused_by == caused_by


@pytest.mark.parametrize(("way", "said", "evidence", "caused_by"), [
    pytest.param("GET /healthz", (502, ""), "/healthz: answered 502", "kong", id="Kong is not ready"),
    pytest.param("GET /portal/health", (502, ""), "answered 502", "prometheus", id="the portal's states"),
    pytest.param(CHAT, (401, {}), "answered 401 instead of 200", "kong", id="a key that is not taken"),
    pytest.param(CHAT, (503, "nobody"), "instead of 200: nobody", "kong", id="nobody answers"),
    pytest.param(CHAT, (200, MESSAGE), "X-AI-Node is missing", "kong", id="an answer of nobody"),
    pytest.param(CHAT, SLOW, SLOWLY, "kong", id="a slow answer"),
])  # fmt: skip
def test_a_gateway_that_does_not_work_has_failed_and_the_possible_causes_are_named(
    way, said, evidence, caused_by
):
    kit = gateway({way: said})
    found = failure_of(nginx.check, kit)
    assert evidence in found.evidence
    assert found.caused_by == ([f"{caused_by} on N"] if caused_by else [])
    assert way != "GET /healthz" or kit.asked == ["GET /healthz"], "nothing else is asked"


def test_a_slow_answer_may_be_the_fault_of_a_model():
    found = failure_of(nginx.check, gateway({CHAT: SLOW}, edge=True))
    assert found.caused_by == ["ollama on NANO", "kong on N"]


# --- the edge ---


def edge(changed: Changed | None = None, second: str = "HIT") -> ScriptedKit:
    answers = in_turn(*((*OF_NANO, ("X-Cache-Status", source)) for source in ("MISS", second)))
    healthy: Changed = {"POST /api/chat": answers, "GET /api/tags": (404, "")}
    return kit_of("edge", ["ollama"], healthy | (changed or {}))


@pytest.mark.parametrize(("kit", "evidence"), [
    pytest.param(edge(second="MISS"), "not answered from the cache (MISS, then MISS)", id="it forgets"),
    pytest.param(edge({"GET /api/tags": (200, {})}), "/api/tags: answered 200 instead of 404",
        id="it lets everything through"),
])  # fmt: skip
def test_an_edge_that_does_not_keep_its_promises_has_failed(kit, evidence):
    assert evidence in failure_of(nginx.check, kit).evidence


# --- another node ---

PAGES = """
<li data-node="N" data-service="comfyui"><a href="/comfyui/">open</a></li>
<li data-node="N" data-service="sonarqube"><a href="http://10.0.0.3:9000/">open</a></li>
<li data-node="N" data-service="jupyterhub">
  <a href="/jupyter/">open</a>
</li><p><a href="/healthz">"""


def node(changed: Changed | None = None) -> ScriptedKit:
    healthy: Changed = {"GET /": (200, PAGES), "GET /comfyui/": (401, ""), "GET /jupyter/": (302, "")}
    kit = kit_of("secondary_ai", ["comfyui", "jupyterhub"], healthy | (changed or {}))
    kit.services["comfyui"]["login"] = "basic"
    return kit


WRONG_PAGES: dict[str, tuple[Any, ...]] = {
    "anybody computes": ({"GET /comfyui/": (200, "")}, "/comfyui/: answered 200 without a password", []),
    "one is away": ({"GET /jupyter/": (503, "away")}, "/jupyter/: answered 503: away", ["jupyterhub on N"]),
}


@pytest.mark.parametrize(("changed", "evidence", "caused_by"), WRONG_PAGES.values(), ids=WRONG_PAGES)
def test_a_page_that_is_not_as_it_should_be_is_named(changed, evidence, caused_by):
    found = failure_of(nginx.check, node(changed))
    assert evidence in found.evidence
    assert found.caused_by == caused_by
