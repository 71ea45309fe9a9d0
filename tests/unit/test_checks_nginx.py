"""The check of nginx: what the door of the gateway, of the edge and of another node is there for."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aicluster_verify import Broken
from by_path import import_file
from fake_service import Asked, FakeKit, Says, serving

nginx = import_file("roles/nginx/templates/opt/aicluster/checks/nginx.py", "check_nginx")
MESSAGE = {"message": {"role": "assistant", "content": ""}}
ANSWER = Says(body=MESSAGE, headers={"X-AI-Node": "AGX0"})
PORTAL = {"GET /": Says(body='<script src="portal.js">'), "GET /portal/health": Says()}
Answers = Says | Callable[[Asked], Says]


def check(
    tier: str, services: list[str], paths: Mapping[str, Answers], fallback: bool = False
) -> tuple[str, list[Asked]]:
    site: dict[str, Any] = {
        "node": "N",
        "services": {name: {} for name in [*services, "nginx"]},
        "cluster": [
            {"name": "N", "tier": tier, "services": {"prometheus": {}}},
            {"name": "EMPTY", "tier": "edge", "services": {}},
        ],
    }
    with serving({"GET /healthz": Says(), **paths}) as service:
        if fallback:
            address, port = service.url.removeprefix("http://").split(":")
            services_there = {"nginx": {"ports": {"http": int(port)}}, "ollama": {}}
            there = {"name": "NANO", "tier": "edge", "address": address, "services": services_there}
            site["cluster"].append(there)
        return nginx.check(FakeKit(service, site, {"kong/api_key": "the-key"})), service.asked


def gateway(chat: Answers = ANSWER, **paths: Answers) -> tuple[str, list[Asked]]:
    return check("gateway", ["kong"], {**PORTAL, "POST /api/v1/chat": chat, **paths})


def edge(second: str = "HIT", **changes: Says) -> tuple[str, list[Asked]]:
    sources = iter(["MISS", second])

    def chat(_asked: Asked) -> Says:
        return Says(body=MESSAGE, headers={"X-AI-Node": "NANO", "X-Cache-Status": next(sources)})

    return check("edge", ["ollama"], {"POST /api/chat": chat, **changes})


def test_on_the_gateway_a_chat_is_answered_by_an_ai_node():
    evidence, asked = gateway()
    assert evidence == "the portal and its states; a chat is answered by AGX0"
    headers = {name.lower(): value for name, value in asked[-1].headers.items()}
    assert headers["apikey"] == "the-key"


def test_an_answer_of_the_edge_is_told_as_what_it_is():
    fallback = Says(body=MESSAGE, headers={"X-AI-Node": "NANO", "X-AI-Fallback": "NANO"})
    assert (
        gateway(fallback)[0]
        == "the portal and its states; a chat is answered by NANO because no AI node does"
    )


def with_edge(there: Says, chat: Says = ANSWER) -> tuple[str, list[Asked]]:
    paths = {**PORTAL, "POST /api/v1/chat": chat, "POST /api/chat": there}
    return check("gateway", ["kong"], paths, fallback=True)


def test_on_the_gateway_the_edge_is_asked_what_it_would_be_asked_without_ai_nodes():
    evidence, asked = with_edge(Says(body=MESSAGE, headers={"X-AI-Node": "NANO"}))
    assert evidence.endswith("a chat is answered by AGX0; NANO would if no AI node did")
    [there] = [one for one in asked if one.path == "/api/chat"]
    assert "Apikey" not in there.headers, "the key is for the gateway's door"


def test_the_edge_is_asked_while_an_ai_node_still_loads_its_model():
    at_the_edge = threading.Event()

    def loading(_asked: Asked) -> Says:
        return ANSWER if at_the_edge.wait(5) else Says(500, "the edge was not asked")

    def edge_chat(_asked: Asked) -> Says:
        at_the_edge.set()
        return Says(body=MESSAGE, headers={"X-AI-Node": "NANO"})

    paths: dict[str, Answers] = {**PORTAL, "POST /api/v1/chat": loading, "POST /api/chat": edge_chat}
    evidence, _ = check("gateway", ["kong"], paths, fallback=True)
    assert "a chat is answered by AGX0; NANO would" in evidence


@pytest.mark.parametrize("answer", [Says(502), Says(404), Says(body={})], ids=["502", "404", "no message"])
def test_an_edge_that_would_not_answer_is_told_by_the_gateway(answer):
    with pytest.raises(Broken, match="NANO would not answer when no AI node does") as broken:
        with_edge(answer)
    assert broken.value.because == ["nginx on NANO"]


@pytest.mark.parametrize(
    ("chat", "evidence"),
    [
        pytest.param(Says(401), "answered 401 instead of 200", id="a key that is not taken"),
        pytest.param(Says(503, "nobody"), "answered 503 instead of 200: nobody", id="nobody answers"),
        pytest.param(Says(body="<html>"), "no JSON", id="a page instead of an answer"),
        pytest.param(
            Says(body={"models": []}, headers={"X-AI-Node": "AGX0"}), "without a message", id="another answer"
        ),
        pytest.param(Says(body=MESSAGE), "X-AI-Node is missing", id="an answer of nobody"),
    ],
)
def test_a_gateway_that_does_not_chat_is_broken(chat, evidence):
    with pytest.raises(Broken, match=evidence):
        gateway(chat)


def test_a_slow_answer_is_told_as_slow_and_may_be_the_models_fault(monkeypatch):
    monkeypatch.setattr(FakeKit, "left", lambda _kit: 0.2)
    with pytest.raises(Broken, match="a model that is not in memory may need longer") as broken:
        with_edge(Says(body=MESSAGE, headers={"X-AI-Node": "NANO"}), chat=Says(delay_s=1))
    assert broken.value.because == ["ollama on NANO", "kong on N"]


def test_a_slow_edge_may_be_the_models_fault(monkeypatch):
    monkeypatch.setattr(FakeKit, "left", lambda _kit: 0.2)
    with pytest.raises(Broken, match="NANO would not answer") as broken:
        with_edge(Says(delay_s=1))
    assert broken.value.because == ["ollama on NANO", "nginx on NANO"]


@pytest.mark.parametrize(
    ("paths", "because"),
    [
        pytest.param({"GET /healthz": Says(503)}, ["kong on N"], id="Kong is not ready"),
        pytest.param({"GET /": Says(500)}, [], id="its own page"),
        pytest.param({"GET /portal/health": Says(502)}, ["prometheus on N"], id="the states of the portal"),
        pytest.param({"POST /api/v1/chat": Says(502)}, ["kong on N"], id="a chat"),
    ],
)
def test_whose_fault_a_closed_door_may_be_is_said(paths, because):
    with pytest.raises(Broken) as broken:
        gateway(**paths)
    assert broken.value.because == because


def test_a_door_that_does_not_answer_is_broken_before_anything_else_is_asked():
    with pytest.raises(Broken, match="/healthz: answered 502"):
        gateway(**{"GET /healthz": Says(502)})


def test_on_the_edge_a_new_question_is_answered_by_the_model_and_then_from_the_cache():
    evidence, asked = edge()
    assert evidence == "/healthz; a chat is answered by the model, then from the cache"
    first, second = [one.body for one in asked if one.path == "/api/chat"]
    assert first == second
    assert "run-1" in str(first), "a question nobody asked before"


def test_an_edge_that_forgets_is_broken():
    with pytest.raises(Broken, match=r"not answered from the cache \(MISS, then MISS\)"):
        edge("MISS")


def test_an_edge_that_lets_everything_through_is_broken():
    with pytest.raises(Broken, match="/api/tags: answered 200 instead of 404"):
        edge("HIT", **{"GET /api/tags": Says()})


DOORS = """
<li data-node="N" data-service="comfyui"><a href="/comfyui/">open</a></li>
<li data-node="N" data-service="sonarqube"><a href="http://10.0.0.3:9000/">open</a></li>
<li data-node="N" data-service="jupyterhub">
  <a href="/jupyter/">open</a>
</li><p><a href="/healthz">"""


def node(**changes: Says) -> tuple[str, list[Asked]]:
    paths = {"GET /": Says(body=DOORS), "GET /comfyui/": Says(401), "GET /jupyter/": Says(302)}
    return check("secondary_ai", ["comfyui", "jupyterhub"], {**paths, **changes})


def test_on_another_node_each_page_behind_the_door_is_opened():
    evidence, asked = node()
    assert evidence == "/healthz and the node's page answer, /comfyui/, /jupyter/"
    assert [one.path for one in asked] == ["/healthz", "/", "/comfyui/", "/jupyter/"]


def test_a_node_with_no_page_behind_its_door_only_has_to_answer():
    assert check("secondary_ai", ["ollama"], {"GET /": Says()})[0] == "/healthz and the node's page answer"


@pytest.mark.parametrize(
    ("answers", "evidence", "because"),
    [
        pytest.param(
            {"GET /comfyui/": Says()}, "/comfyui/: answered 200 without a password", [], id="anybody computes"
        ),
        pytest.param(
            {"GET /jupyter/": Says(503, "away")},
            "/jupyter/: answered 503: away",
            ["jupyterhub on N"],
            id="one is away",
        ),
    ],
)
def test_a_page_that_is_not_as_it_should_be_is_named(answers, evidence, because):
    with pytest.raises(Broken, match=evidence) as broken:
        node(**answers)
    assert broken.value.because == because
