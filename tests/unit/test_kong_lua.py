"""The Lua that ships in kong.yml, run by LuaJIT in Kong's sandbox over a small copy of its interface.

The sandbox has the names Kong 3.9 gives to untrusted Lua and nothing else; the copy of the interface has
the functions used here and nothing else, so a new one fails until somebody has looked it up.
"""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import render
import yaml
from lupa.luajit21 import LuaError, LuaRuntime
from tree import ROOT

FILES = ROOT / "roles/kong/files"

SANDBOX = """
local names = [[_VERSION assert error ipairs next pairs pcall select tonumber tostring type unpack xpcall]]
local modules = {
  string = [[byte char find format gmatch gsub len lower match rep reverse sub upper]],
  table = [[concat insert maxn remove sort]],
  math = [[abs ceil floor fmod huge max min modf pi]],
}
local function strict(name, members)
  return setmetatable(members, {
    __index = function(_, key) error(name .. "." .. key .. " is not in the sandbox", 2) end,
    __newindex = function(_, key) error(name .. "." .. key .. " must not be set", 2) end,
  })
end
return function(chunk, kong, ngx, modules_allowed)
  local env = { kong = kong, ngx = ngx }
  for name in names:gmatch("%S+") do env[name] = _G[name] end
  for module, members in pairs(modules) do
    local copy = {}
    for name in members:gmatch("%S+") do copy[name] = _G[module][name] end
    env[module] = strict(module, copy)
  end
  env.require = function(name)
    return modules_allowed[name] or error("require '" .. name .. "' not allowed within sandbox", 2)
  end
  local run = assert(loadstring(chunk))
  setfenv(run, strict("_G", env))
  return run()
end, strict
"""


@cache
def shipped(route: str, phase: str, inventory: str = "production") -> str:
    config = yaml.safe_load(
        render.render_role("kong", inventory=inventory)["/opt/aicluster/kong/secrets/kong.yml"]
    )
    [found] = [r for service in config["services"] for r in service["routes"] if r["name"] == route]
    [function] = [p["config"] for p in found["plugins"] if p["name"] == "post-function"]
    [text] = function[phase]
    return str(text)


@dataclass
class Gateway:
    """What a request did to the interface; `source` is who made the answer."""

    body: str | None = ""
    method: str = "POST"
    upstream_addr: str | None = None
    source: str = "service"
    status: int = 200
    credential: bool = True
    answer: tuple[int, str] | None = None
    sent: str | None = None
    cleared: list[str] = field(default_factory=list)
    response_headers: dict[str, str] = field(default_factory=dict)
    body_limit: int | None = None

    def run(self, text: str) -> "Gateway":
        lua = LuaRuntime(unpack_returned_tuples=True)
        sandboxed, strict = lua.execute(SANDBOX)
        null = lua.eval("newproxy()")

        def to_lua(value: Any) -> Any:
            if isinstance(value, dict):
                return lua.table_from({key: to_lua(item) for key, item in value.items()})
            if isinstance(value, list):
                return lua.table_from([to_lua(item) for item in value])
            return null if value is None else value

        def decode(body: str) -> Any:
            try:
                return to_lua(json.loads(body))
            except ValueError as error:
                return None, str(error)

        def leave(status: int, answer: Any) -> None:
            self.answer = (status, answer["error"])
            raise StopIteration  # Kong's exit does not return either

        def table(name: str, **members: Any) -> Any:
            return strict(name, lua.table_from(members))

        def raw_body(limit: int) -> str | None:
            self.body_limit = limit
            return self.body

        kong = table(
            "kong",
            request=table(
                "request",
                get_method=lambda: self.method,
                get_raw_body=raw_body,
            ),
            service=table(
                "service",
                request=table(
                    "service.request",
                    set_raw_body=lambda body: setattr(self, "sent", body),
                    clear_header=self.cleared.append,
                ),
            ),
            client=table("client", get_credential=lambda: lua.table() if self.credential else None),
            response=table(
                "response",
                exit=leave,
                get_source=lambda: self.source,
                get_status=lambda: self.status,
                set_header=self.response_headers.__setitem__,
            ),
        )
        ngx = table("ngx", var=lua.table_from({"upstream_addr": self.upstream_addr}))
        allowed = lua.table_from({"cjson.safe": table("cjson", decode=decode, null=null)})
        try:
            sandboxed(text, kong, ngx, allowed)
        except StopIteration:
            assert self.answer is not None
        return self


def access(body: str | None, route: str = "ai-chat", **request: Any) -> Gateway:
    return Gateway(body=body, **request).run(shipped(route, "access"))


# --- the text itself ---


@pytest.mark.parametrize(
    ("file", "phase"), [("model_alias.lua", "access"), ("answering_node.lua", "header_filter")]
)
@pytest.mark.parametrize("route", ["ai-chat", "ai-code", "ai-openai"])
def test_the_file_that_is_read_is_the_text_that_ships(route, file, phase):
    source = Path(FILES / file).read_text()
    assert shipped(route, phase).rstrip().endswith(source.rstrip())


def test_the_sandbox_of_this_test_refuses_what_kongs_refuses():
    for forbidden in ("setmetatable({}, {})", "require 'resty.http'", "io.open('/etc/passwd')", "x = 1"):
        with pytest.raises(LuaError, match=r"sandbox|must not be set"):
            Gateway().run(forbidden)


# --- access: the alias ---


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        pytest.param('{"stream":false}', '{"stream":false,"model":"chat"}', id="no model gets the alias"),
        pytest.param("{}", '{"model":"chat"}', id="an empty object gets no stray comma"),
        pytest.param("{ }\n", '{ "model":"chat"}', id="blanks around an empty object do not matter"),
        pytest.param('{"model":""}', '{"model":"","model":"chat"}', id="an empty model is overruled"),
        pytest.param('{"model":null}', '{"model":null,"model":"chat"}', id="null is overruled"),
        pytest.param(
            '{"tools":[],"seed":12345678901234567}',
            '{"tools":[],"seed":12345678901234567,"model":"chat"}',
            id="empty arrays and big numbers arrive as they were sent",
        ),
        pytest.param(
            '{"messages":[{"content":"} \\u00e9 é"}]}\r\n',
            '{"messages":[{"content":"} \\u00e9 é"}],"model":"chat"}',
            id="braces and letters inside text stay",
        ),
    ],
)
def test_a_request_without_a_model_is_given_one(body, sent):
    gateway = access(body)
    assert gateway.answer is None
    assert gateway.sent == sent
    assert json.loads(sent)["model"] == "chat"


def test_the_alias_is_the_routes():
    code, openai = access("{}", route="ai-code"), access("{}", route="ai-openai")
    assert (code.sent, openai.sent) == ('{"model":"code"}', '{"model":"chat"}')


def test_a_request_that_names_a_model_is_not_touched():
    gateway = access('{"model": "llama3.2:1b"}')
    assert gateway.sent is None
    assert gateway.answer is None


def test_a_big_body_is_passed_on_whole():
    body = json.dumps({"messages": [{"content": "x" * 3_000_000}]})
    assert access(body).sent == body[:-1] + ',"model":"chat"}'


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("{", id="half an object"),
        pytest.param("[]", id="an array"),
        pytest.param('"chat"', id="a string"),
        pytest.param("{} {}", id="two objects"),
        pytest.param("model=chat", id="a form"),
        pytest.param("{'model': 'chat'}", id="single quotes"),
    ],
)
def test_a_body_that_is_not_one_object_is_refused(body):
    gateway = access(body)
    assert gateway.answer is not None
    status, message = gateway.answer
    assert status == 400
    assert "must be one JSON object" in message
    assert gateway.sent is None


@pytest.mark.parametrize("model", ["7", "true", "[]", "{}"])
def test_a_model_that_is_no_string_is_refused(model):
    answer = access(f'{{"model": {model}}}').answer
    assert answer == (400, 'The field "model" must be a string; leave it out to use "chat".')


def test_a_body_over_the_limit_is_refused():
    gateway = access(None)
    assert gateway.body_limit == 20 * 1024 * 1024
    assert gateway.answer == (413, "The request body is larger than 20971520 bytes.")


def test_a_list_of_models_has_no_body_to_look_at():
    gateway = access(None, route="ai-openai", method="GET")
    assert gateway.answer is None
    assert gateway.sent is None
    assert gateway.body_limit is None


def test_the_node_does_not_judge_a_browsers_origin():
    assert access("{}").cleared == ["Origin"]


# --- header_filter: who answered ---


@pytest.mark.parametrize(
    ("upstream_addr", "node"),
    [
        pytest.param("192.168.1.154:11434", "AGX0", id="the only try answered"),
        pytest.param("192.168.1.154:11434, 192.168.1.157:11435", "ORIN0", id="the last try answered"),
        pytest.param(
            "192.168.1.154:11434, 192.168.1.154:11434 : 192.168.1.157:11435", "ORIN0", id="after a redirect"
        ),
        pytest.param("192.168.1.9:11434", None, id="an address nobody knows is not guessed"),
        pytest.param("", None, id="no try"),
        pytest.param(None, None, id="no upstream at all"),
    ],
)
def test_the_header_names_the_node_that_answered(upstream_addr, node):
    gateway = Gateway(upstream_addr=upstream_addr).run(shipped("ai-chat", "header_filter"))
    assert gateway.response_headers.get("X-AI-Node") == node


@pytest.mark.parametrize("source", ["exit", "error"])
def test_an_answer_of_kongs_own_names_no_node(source):
    gateway = Gateway(upstream_addr="192.168.1.154:11434", source=source)
    assert not gateway.run(shipped("ai-chat", "header_filter")).response_headers


EDGE = {"X-Accel-Redirect": "@edge"}


@pytest.mark.parametrize("source", ["exit", "error"])
@pytest.mark.parametrize("status", [502, 503, 504])
def test_when_no_ai_node_answers_nginx_is_told_to_ask_the_edge(source, status):
    gateway = Gateway(source=source, status=status).run(shipped("ai-chat", "header_filter"))
    assert gateway.response_headers == EDGE


@pytest.mark.parametrize(
    "what",
    [
        pytest.param({"source": "exit", "status": 401, "credential": False}, id="a missing key"),
        pytest.param({"source": "exit", "status": 429}, id="too many requests"),
        pytest.param({"source": "exit", "status": 400}, id="a bad body"),
        pytest.param({"source": "exit", "status": 413}, id="a big body"),
        pytest.param({"source": "error", "status": 500}, id="a mistake in the gateway"),
        pytest.param({"source": "error", "status": 503, "credential": False}, id="a key nobody looked at"),
        pytest.param({"source": "service", "status": 503}, id="a busy AI node"),
        pytest.param({"source": "service", "status": 502}, id="an AI node's own error"),
    ],
)
def test_what_is_no_failure_of_all_ai_nodes_does_not_lead_to_the_edge(what):
    gateway = Gateway(**what).run(shipped("ai-chat", "header_filter"))
    assert "X-Accel-Redirect" not in gateway.response_headers


def test_the_lab_has_its_own_addresses():
    text = shipped("ai-chat", "header_filter", "lab")
    gateway = Gateway(upstream_addr="198.18.77.157:11435").run(text)
    assert gateway.response_headers == {"X-AI-Node": "ORIN0"}
