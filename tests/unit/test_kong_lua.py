"""The Lua that ships in kong.yml, and the sandbox of the stand-in for Kong it runs in, under LuaJIT."""

import json
from collections import Counter
from functools import cache

import pytest
import render
import yaml
from multidict import CIMultiDict
from standin_kong import chat, kong, node, plugin
from standins.kong.kong_standin.config import Credential
from standins.kong.kong_standin.exchange import Exchange, ExitError
from standins.kong.kong_standin.lua_functions import Functions, new_runtime
from tree import ROOT

LIMIT = 20 * 1024 * 1024
KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"
AGX0, ORIN0 = "192.168.1.154:11434", "192.168.1.157:11435"
KNOWN = Credential("1", "secret", "2", "me")


@cache
def shipped(route: str, phase: str, inventory: str = "production") -> str:
    config = yaml.safe_load(render.render_role("kong", inventory=inventory)[KONG_YML])
    [found] = [r for service in config["services"] for r in service["routes"] if r["name"] == route]
    [function] = [p["config"] for p in found["plugins"] if p["name"] == "post-function"]
    [text] = function[phase]
    return str(text)


def exchange(method: str = "POST", **headers: str) -> Exchange:
    return Exchange(method, "/api/v1/chat", "", CIMultiDict(headers), "127.0.0.1", "127.0.0.1")


def access(body: str, route: str = "ai-chat", method: str = "POST", **headers: str) -> Exchange:
    """What a request has become after the access phase."""
    asked = exchange(method, **headers)
    asked.out_body = body.encode()
    try:
        Functions(["cjson.safe"]).run(asked, [shipped(route, "access")], "access")
    except ExitError:
        assert asked.status
    return asked


def answered(inventory: str = "production", **what: object) -> dict[str, str]:
    """The headers an answer has after the header_filter phase."""
    asked = exchange()
    for name, value in ({"source": "service", "status": 200, "credential": KNOWN} | what).items():
        setattr(asked, name, value)
    Functions(["cjson.safe"]).run(asked, [shipped("ai-chat", "header_filter", inventory)], "header_filter")
    return dict(asked.answer_headers)


@pytest.mark.parametrize(
    ("file", "phase"), [("model_alias.lua", "access"), ("answering_node.lua", "header_filter")]
)
@pytest.mark.parametrize("route", ["ai-chat", "ai-code", "ai-openai"])
def test_the_file_that_is_read_is_the_text_that_ships(route, file, phase):
    source = (ROOT / "roles/kong/files" / file).read_text()
    assert shipped(route, phase).rstrip().endswith(source.rstrip())


# --- access: the alias ---


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        pytest.param('{"stream":false}', '{"stream":false,"model":"chat"}', id="no model gets the alias"),
        pytest.param("{}", '{"model":"chat"}', id="an empty object gets no stray comma"),
        pytest.param("{ }\n", '{ "model":"chat"}', id="blanks around an empty object do not matter"),
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
    ],
)
def test_a_request_without_a_model_is_given_one(body, sent):
    asked = access(body)
    assert (asked.status, asked.out_body.decode()) == (0, sent)
    assert json.loads(sent)["model"] == "chat"


def test_the_alias_is_the_routes():
    sent = [access("{}", route=route).out_body for route in ("ai-code", "ai-openai")]
    assert sent == [b'{"model":"code"}', b'{"model":"chat"}']


@pytest.mark.parametrize(
    ("method", "body"),
    [
        pytest.param("POST", '{"model": "llama3.2:1b"}', id="a request that names a model"),
        pytest.param("GET", "", id="a list of models has no body to look at"),
    ],
)
def test_a_request_is_not_touched(method, body):
    asked = access(body, route="ai-openai", method=method)
    assert (asked.status, asked.out_body.decode()) == (0, body)


NO_OBJECT = (
    'The request body must be one JSON object, such as {"messages": [{"role": "user", "content": "Hello"}]}.'
)
TOO_BIG = f"The request body is larger than {LIMIT} bytes."
NO_STRING = 'The field "model" must be a string; leave it out to use "chat".'


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        pytest.param("", 400, NO_OBJECT, id="nothing"),
        pytest.param("{", 400, NO_OBJECT, id="half an object"),
        pytest.param("[]", 400, NO_OBJECT, id="an array"),
        pytest.param('"chat"', 400, NO_OBJECT, id="a string"),
        pytest.param("{} {}", 400, NO_OBJECT, id="two objects"),
        pytest.param("model=chat", 400, NO_OBJECT, id="a form"),
        pytest.param("{'model': 'chat'}", 400, NO_OBJECT, id="single quotes"),
        *(
            pytest.param(f'{{"model": {model}}}', 400, NO_STRING, id=f"{model} as a model")
            for model in ("7", "true", "[]", "{}")
        ),
        pytest.param("x" * (LIMIT + 1), 413, TOO_BIG, id="over the limit"),
    ],
)
def test_a_body_is_refused(body, status, message):
    asked = access(body)
    assert (asked.status, json.loads(asked.answer_body)) == (status, {"error": message})


def test_the_node_does_not_judge_a_browsers_origin():
    assert access("{}", Origin="http://page", Accept="*/*").out_headers == {"Accept": "*/*"}


# --- header_filter: who answered ---


@pytest.mark.parametrize(
    ("inventory", "upstream_addr", "node"),
    [
        pytest.param("production", AGX0, "AGX0", id="the only try answered"),
        pytest.param("production", f"{AGX0}, {ORIN0}", "ORIN0", id="the last try answered"),
        pytest.param("production", f"{AGX0}, {AGX0} : {ORIN0}", "ORIN0", id="after a redirect"),
        pytest.param("production", "192.168.1.9:11434", None, id="an address nobody knows is not guessed"),
        pytest.param("production", "", None, id="no try"),
        pytest.param("lab", "198.18.77.157:11435", "ORIN0", id="the lab has its own addresses"),
    ],
)
def test_the_header_names_the_node_that_answered(monkeypatch, inventory, upstream_addr, node):
    monkeypatch.setattr(Exchange, "upstream_addr", upstream_addr)
    assert answered(inventory) == ({"X-AI-Node": node} if node else {})


@pytest.mark.parametrize("source", ["exit", "error"])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_when_no_ai_node_answers_nginx_is_told_to_ask_the_edge_and_no_node_is_named(
    monkeypatch, source, status
):
    monkeypatch.setattr(Exchange, "upstream_addr", AGX0)
    assert answered(source=source, status=status) == {"X-Accel-Redirect": "@edge"}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param({"source": "exit", "status": 401, "credential": None}, id="a missing key"),
        pytest.param({"source": "exit", "status": 429}, id="too many requests"),
        pytest.param({"source": "exit", "status": 400}, id="a bad body"),
        pytest.param({"source": "exit", "status": 413}, id="a big body"),
        pytest.param({"source": "error", "status": 500}, id="a mistake in the gateway"),
        pytest.param({"source": "error", "status": 503, "credential": None}, id="a key nobody looked at"),
        pytest.param({"source": "service", "status": 503}, id="a busy AI node"),
        pytest.param({"source": "service", "status": 502}, id="an AI node's own error"),
    ],
)
def test_what_is_no_failure_of_all_ai_nodes_does_not_lead_to_the_edge(what):
    assert answered(**what) == {}


async def test_a_chat_without_a_model_gets_the_alias_and_the_answer_names_its_node():
    """The lab's file, with its AI nodes at other addresses and without Redis, in the gateway it is for."""
    text = render.render_role("kong", inventory="lab")[KONG_YML]
    names = [target["target"] for target in yaml.safe_load(text)["upstreams"][0]["targets"]]
    async with node() as agx0, node() as orin0:
        for name, address in zip(names, [agx0.address, orin0.address], strict=True):
            text = text.replace(name, address)
        tree = yaml.safe_load(text.replace("policy: redis", "policy: local"))
        key = {"apikey": tree["consumers"][0]["keyauth_credentials"][0]["key"]}
        async with kong(tree) as client:
            asked = {"path": "/api/v1/chat", "data": '{"stream":false}'}
            answers = [await client.ask(headers=key, **asked) for _ in range(5)]
            refused = await client.ask(**asked)
    nodes = Counter(answer.headers["X-AI-Node"] for answer in answers)
    assert nodes == {"AGX0": 4, "ORIN0": 1}
    assert {*agx0.seen, *orin0.seen} == {("POST /api/chat HTTP/1.1", b'{"stream":false,"model":"chat"}')}
    assert (refused.status, refused.headers.get("X-AI-Node")) == (401, None)


# --- the sandbox ---


async def run_lua(*, name="pre-function", others=(), requests=1, **phases):
    """Ask a gateway with these functions; return the last answer and what reached the node."""
    async with node() as one:
        functions = plugin(name, **{phase: [text] for phase, text in phases.items()})
        async with kong(chat((one.address, 1), plugins=[functions, *others])) as client:
            for _ in range(requests):
                answer = await client.ask()
    return answer, one.seen


def test_it_is_luajit():
    assert "LuaJIT" in new_runtime().eval("jit.version")


@pytest.mark.parametrize(
    "text",
    [
        "io.open('/etc/passwd')",
        "os.execute('true')",
        "setmetatable({}, {})",
        "require('resty.http')",
        "require('cjson')",
        "string.rep = nil",
        "loadstring('return 1')()",
        "getmetatable('').__index = nil",
        "python.eval('1')",
        "local f = kong.request.get_method; return f.__globals__",
        "kong.request.get_hedaer('a')",
        "kong.response.get_status()",
        "kong.response.exit(200, {}, { ['X-More'] = 'than the stand-in does' })",
        "kong.response.exit(200, { number = 1 })",
        "ngx.status = 200",
        "return function() end",
        "error('x')",
    ],
)
async def test_what_may_not_be_done_is_a_500(text):
    answer, seen = await run_lua(access=text)
    assert (answer.status, seen) == (500, [])
    assert json.loads(answer.body)["message"] == "An unexpected error occurred"


async def test_a_mistake_in_header_filter_comes_too_late_to_change_the_answer():
    answer, _ = await run_lua(header_filter="kong.service.request.clear_header('a')")
    assert answer.status == 200


async def test_an_exit_ends_the_request_and_later_functions_see_it():
    answer, seen = await run_lua(
        access='kong.response.exit(418, { error = "é/" })',
        header_filter='kong.response.set_header("X-Source", kong.response.get_source())',
    )
    assert (answer.status, answer.headers["X-Source"], seen) == (418, "exit", [])
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert answer.body.decode() == '{"error":"é\\/"}', "as cjson writes it"


@pytest.mark.parametrize(
    ("name", "status"), [("pre-function", 200), ("post-function", 401)], ids=["before", "after"]
)
async def test_functions_run_before_or_after_the_other_plugins(name, status):
    answer, _ = await run_lua(name=name, access="kong.response.exit(200, {})", others=[plugin("key-auth")])
    assert answer.status == status


async def test_a_request_carries_its_context_from_phase_to_phase_and_no_further():
    answer, _ = await run_lua(
        access='kong.ctx.shared.n = (kong.ctx.shared.n or "") .. "x"',
        header_filter='kong.response.set_header("X-N", kong.ctx.shared.n)',
        requests=3,
    )
    assert answer.headers["X-N"] == "x"
