"""The Lua that ships in kong.yml, in the sandbox of the stand-in for Kong, under LuaJIT."""

import json
from functools import cache

import pytest
import render
import yaml
from multidict import CIMultiDict
from standins.kong.kong_standin.config import Credential
from standins.kong.kong_standin.exchange import Exchange, ExitError
from standins.kong.kong_standin.lua_functions import Functions

LIMIT = 20 * 1024 * 1024
AGX0, ORIN0 = "192.168.1.154:11434", "192.168.1.157:11435"
KNOWN = Credential("1", "secret", "2", "me")


@cache
def shipped(route: str, phase: str) -> str:
    config = yaml.safe_load(render.render_role("kong")["/opt/aicluster/kong/secrets/kong.yml"])
    [found] = [r for service in config["services"] for r in service["routes"] if r["name"] == route]
    [function] = [p["config"] for p in found["plugins"] if p["name"] == "post-function"]
    [text] = function[phase]
    return str(text)


def exchange(method: str = "POST", **headers: str) -> Exchange:
    return Exchange(method, "/api/v1/chat", "", CIMultiDict(headers), "127.0.0.1")


def access(body: str, route: str = "ai-chat", method: str = "POST", **headers: str) -> Exchange:
    """What a request has become after the access phase."""
    asked = exchange(method, **headers)
    asked.out_body = body.encode()
    try:
        Functions(["cjson.safe"]).run(asked, [shipped(route, "access")], "access")
    except ExitError:
        assert asked.status
    return asked


def answered(**what: object) -> dict[str, str]:
    """The headers an answer has after the header_filter phase."""
    asked = exchange()
    for name, value in ({"source": "service", "status": 200, "credential": KNOWN} | what).items():
        setattr(asked, name, value)
    Functions(["cjson.safe"]).run(asked, [shipped("ai-chat", "header_filter")], "header_filter")
    return dict(asked.answer_headers)


# --- access: the alias ---


@pytest.mark.parametrize(("body", "sent"), [
    pytest.param('{"stream":false}', '{"stream":false,"model":"chat"}', id="no model gets the alias"),
    pytest.param("{}", '{"model":"chat"}', id="an empty object gets no stray comma"),
    pytest.param('{"model":""}', '{"model":"","model":"chat"}', id="an empty model is overruled"),
    pytest.param('{"model":null}', '{"model":null,"model":"chat"}', id="null is overruled"),
    *(
        pytest.param(f"{{{members}}}\r\n", f'{{{members},"model":"chat"}}', id=name)
        for name, members in {
            "empty arrays and big numbers arrive as they were sent": '"a":[],"seed":12345678901234567',
            "braces and letters inside text stay": '"messages":[{"content":"} \\u00e9 é"}]',
            "a big body is passed on whole": '"content":"%s"' % ("x" * 3_000_000),
        }.items()
    ),
])  # fmt: skip
def test_a_request_without_a_model_is_given_one(body, sent):
    asked = access(body)
    assert (asked.status, asked.out_body.decode()) == (0, sent)
    assert json.loads(sent)["model"] == "chat"


def test_the_alias_is_the_routes():
    sent = [access("{}", route=route).out_body for route in ("ai-code", "ai-openai")]
    assert sent == [b'{"model":"code"}', b'{"model":"chat"}']


@pytest.mark.parametrize(("method", "body"), [
    pytest.param("POST", '{"model": "llama3.2:1b"}', id="a request that names a model"),
    pytest.param("GET", "", id="a list of models has no body to look at"),
])  # fmt: skip
def test_a_request_is_not_touched(method, body):
    asked = access(body, route="ai-openai", method=method)
    assert (asked.status, asked.out_body.decode()) == (0, body)


AN_OBJECT = '{"messages": [{"role": "user", "content": "Hello"}]}'
NO_OBJECT = f"The request body must be one JSON object, such as {AN_OBJECT}."
TOO_BIG = f"The request body is larger than {LIMIT} bytes."
NO_STRING = 'The field "model" must be a string; leave it out to use "chat".'


@pytest.mark.parametrize(("body", "status", "message"), [
    pytest.param("", 400, NO_OBJECT, id="nothing"),
    pytest.param("{", 400, NO_OBJECT, id="half an object"),
    pytest.param("[]", 400, NO_OBJECT, id="an array"),
    pytest.param("model=chat", 400, NO_OBJECT, id="a form"),
    *(
        pytest.param(f'{{"model": {model}}}', 400, NO_STRING, id=f"{model} as a model")
        for model in ("7", "true", "[]", "{}")
    ),
    pytest.param("x" * (LIMIT + 1), 413, TOO_BIG, id="over the limit"),
])  # fmt: skip
def test_a_body_is_refused(body, status, message):
    asked = access(body)
    assert (asked.status, json.loads(asked.answer_body)) == (status, {"error": message})


def test_the_node_does_not_check_a_browsers_origin():
    assert access("{}", Origin="http://page", Accept="*/*").out_headers == {"Accept": "*/*"}


# --- header_filter: who answered ---


@pytest.mark.parametrize(("upstream_addr", "node"), [
    pytest.param(AGX0, "AGX0", id="the only try answered"),
    pytest.param(f"{AGX0}, {ORIN0}", "ORIN0", id="the last try answered"),
    pytest.param(f"{AGX0}, {AGX0} : {ORIN0}", "ORIN0", id="after a redirect"),
    pytest.param("192.168.1.9:11434", None, id="an address nobody knows is not guessed"),
    pytest.param("", None, id="no try"),
])  # fmt: skip
def test_the_header_names_the_node_that_answered(monkeypatch, upstream_addr, node):
    monkeypatch.setattr(Exchange, "upstream_addr", upstream_addr)
    assert answered() == ({"X-AI-Node": node} if node else {})


@pytest.mark.parametrize("source", ["exit", "error"])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_when_no_ai_node_answers_nginx_is_told_to_ask_the_edge_and_no_node_is_named(
    monkeypatch, source, status
):
    monkeypatch.setattr(Exchange, "upstream_addr", AGX0)
    assert answered(source=source, status=status) == {"X-Accel-Redirect": "@edge"}


@pytest.mark.parametrize("what", [
    pytest.param({"source": "exit", "status": 401, "credential": None}, id="a missing key"),
    pytest.param({"source": "exit", "status": 429}, id="too many requests"),
    pytest.param({"source": "exit", "status": 400}, id="a bad body"),
    pytest.param({"source": "exit", "status": 413}, id="a big body"),
    pytest.param({"source": "error", "status": 500}, id="a mistake in the gateway"),
    pytest.param({"source": "error", "status": 503, "credential": None}, id="a key nobody looked at"),
    pytest.param({"source": "service", "status": 503}, id="a busy AI node"),
    pytest.param({"source": "service", "status": 502}, id="an AI node's own error"),
])  # fmt: skip
def test_what_is_no_failure_of_all_ai_nodes_does_not_lead_to_the_edge(what):
    assert answered(**what) == {}
