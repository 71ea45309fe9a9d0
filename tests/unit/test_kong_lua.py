"""The Lua that ships in kong.yml, in the sandbox of the stand-in for Kong, under LuaJIT."""

import json
from typing import Any

import gateway_lua
import pytest
import render
from gateway_lua import ALL, SOME, run, texts
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from standins.kong.kong_standin.config import Credential, parse
from standins.kong.kong_standin.exchange import Exchange
from standins.kong.kong_standin.schema import PLUGINS
from tables import cases
from tree import ROOT

from aicluster.gateway.routing import NEEDS, lua, node_sets, offers_for, table

AGX0, ORIN0 = "192.168.1.154:11434", "192.168.1.157:11435"
BOTH = "ai-chat"
OPENAI = "/v1/chat/completions"


def access(
    body: str | bytes, path: str = "/api/v1/chat", method: str = "POST", by: Credential = ALL, **headers: str
) -> Exchange:
    """What a request has become after the access phase."""
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    asked = Exchange(method, path, "", named, "127.0.0.1", credential=by)
    asked.out_body = body.encode("utf-8", "surrogateescape") if isinstance(body, str) else body
    run(asked, texts(asked, "access"), "access")
    return asked


def went(asked: Exchange) -> str:
    """Which upstream a request goes to; "" for that of its service, which is all nodes of the alias."""
    assert asked.status == 0, asked.answer_body
    return asked.upstream


def answered(asked: Exchange, **what: object) -> Exchange:
    """The same with an answer, after all phases."""
    for name, value in ({"source": "service", "status": 200} | what).items():
        setattr(asked, name, value)
    run(asked, texts(asked, "header_filter"), "header_filter")
    run(asked, texts(asked, "body_filter"), "body_filter")
    return asked


def question(**members: object) -> str:
    return json.dumps({"messages": [{"role": "user", "content": "Hello"}], **members})


# --- which nodes a request goes to ---

PICTURE = {"role": "user", "content": "What is it?", "Images": ["x" * 9000]}
PARTS = [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {"url": "data:," + "x" * 9000}}]
LONG = {"role": "user", "content": "word " * 2000}
PARAMETERS = {"num_ctx": {"type": "integer"}, "images": {"type": "image"}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"properties": PARAMETERS}}}]
ROUTED: dict[str, tuple[Any, ...]] = {
    "no model: all nodes of the alias": ({}, BOTH),
    "a model that one node has": ({"model": "gpt-oss"}, "ai.agx0"),
    "another way to write it": ({"model": " Library/GPT-oss:latest"}, "ai.agx0"),
    "Ollama reads keys of either case": ({"Model": "gpt-oss"}, "ai.agx0"),
    "a model that only the edge has": ({"model": "qwen2.5:0.5b"}, "ai.nano"),
    "only the edge's model for code can": ({"model": "code", "tools": TOOLS}, "ai.nano"),
    "no tools are no need": ({"tools": []}, BOTH),
    "a little": ({"think": "low"}, "ai.agx0"),
    "or not at all": ({"think": False}, BOTH),
    "but a name is no model elsewhere": ({"name": "anna"}, BOTH),
    "an image": ({"model": "gemma3:12b", "messages": [PICTURE]}, "ai.agx0"),
    "more text than the small node's context": ({"messages": [LONG]}, "ai.agx0"),
    "more than anybody's goes where most of it is read": ({"messages": [LONG] * 9}, "ai.agx0"),
    "effort": ({"reasoning_effort": "high"}, "ai.agx0", OPENAI),
    "no effort": ({"reasoning_effort": "none"}, BOTH, OPENAI),
    "effort of a response": ({"reasoning": {"effort": "low"}}, "ai.agx0", "/v1/responses"),
    "an image in parts, which is no text": (
        {"model": "gemma3:12b", "messages": [{"content": PARTS}]}, "ai.agx0", OPENAI),
    "an embedding model, unnamed": ({"input": ["word " * 9000]}, "ai.agx0", "/v1/embeddings"),
    "one that is named": ({"model": "llama3.2:1b", "input": ["word " * 9000]}, BOTH, "/api/embed"),
    "what an older client calls a model": ({"name": "phi3:mini"}, BOTH, "/api/show"),
    "words that a tool was called with are no images": ({"messages": [{"tool_calls": [
        {"function": {"name": "f", "arguments": {"images": ["a.png"], "type": "image"}}}]}]}, BOTH),
}  # fmt: skip


@pytest.mark.parametrize(
    ("members", "upstream", "path"), [(*row, "/api/v1/chat")[:3] for row in ROUTED.values()], ids=ROUTED
)
def test_a_request_goes_to_the_nodes_that_can_answer_it(members, upstream, path):
    assert went(access(question(**members), path)) == upstream


# --- a request arrives as it was sent ---


@pytest.mark.parametrize("behind", ["\0", " more", "\0}", '{"model":"chat"}'], ids=repr)
def test_what_stands_behind_a_request_counts_as_little_as_it_does_for_ollama(behind):
    body = '{"model":"gpt-oss","prompt":"é\\ud83d","options":{"num_ctx":99999}'
    asked = access(f"{body}}}{behind}")
    assert (went(asked), asked.out_body.decode()) == ("ai.agx0", f"{body}{CAPPED}}}")


ALIAS, CAPPED = ',"model":"chat"', ',"options":{"num_ctx":8192}'


# What is appended to a body; that of an empty object begins without a comma.
@cases(("body", "appended"), {
    "no model gets the alias": ('{"stream":false}', ALIAS),
    "an empty object gets no stray comma": ("{}", '"model":"chat"'),
    "an empty model is overruled": ('{"model":""}', ALIAS),
    "null is overruled": ('{"model":null}', ALIAS),
    "of two models the one routed by counts": ('{"model":"chat","MODEL":"chat"}', ALIAS),
    "empty arrays and big numbers stay": ('{"a":[],"seed":12345678901234567}\r\n', ALIAS),
    "so does half an emoji": ('{"messages":[{"content":"} \\u00e9 é \\ud83d"}]}', ALIAS),
    "also behind a backslash": ('{"a":"\\\\\\ud83d\\\\ud83d"}', ALIAS),
    "a node's context is the limit, other options stay": (
        '{"options":{"num_ctx":9000,"seed":1}}', ALIAS + CAPPED),
    "Ollama reads the first of two options, too": (
        '{"model":"chat","options":{"num_ctx":1e9},"options":{}}', CAPPED),
    "and a power of ten below 1": ('{"model":"chat","options":{"num_ctx":1310720e-1}}', CAPPED),
    "and options in disguise": ('{"model":"chat","Option\\u017f":{"num\\u005fctx":99999}}', CAPPED),
})  # fmt: skip
def test_only_what_the_gateway_decides_is_appended(body, appended):
    assert access(body).out_body.decode() == f"{body.rstrip()[:-1]}{appended}}}"


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"model=chat", b"(\xb5/\xfd$\x80zstd", b"{" * 2000,
    b'{"a":\xff}', b'{"model":"chat","a":"\xff\xfe"}',
    b'{"model":"chat","content":"%s"}' % (b"x" * 3_000_000),
    b'{"model":"chat","content":"\\"num_ctx\\": 99999"}',
], ids=lambda body: repr(body[:40]))  # fmt: skip
def test_what_needs_nothing_or_cannot_be_read_goes_on_unchanged(body):
    asked = access(body)
    assert (asked.status, asked.out_body) == (0, body)


def test_the_node_does_not_check_a_browsers_origin_and_hears_nothing_of_failures():
    asked = access("{}", Origin="http://page", X_AI_Again="chat", X_AI_Failed="AGX0", Accept="*/*")
    assert asked.out_headers == {"Accept": "*/*"}


# --- what is refused, and how ---


def refusal(asked: Exchange) -> tuple[int, Any]:
    status = asked.status
    answered(asked, source="exit", status=status)
    assert asked.answer_headers["Content-Type"].startswith("application/json")
    return status, json.loads(asked.answer_body)["error"]


@cases(("body", "status", "message"), {
    "an unknown model, with those that there are": (
        question(model="gpt-5"), 404, 'No node has the model "gpt-5". There are: chat, code, llama'),
    "a strange one": (question(model="\n<é>"), 404, 'No node has the model "?<??>".'),
    "one that would take hours to trim": (
        question(model="a" + " " * 10**6 + "b"), 404, 'No node has the model "a '),
    "or to cut at its tag": (question(model=":" * 10**6 + "/"), 404, 'No node has the model ":::'),
    "no tools": (question(model="codellama:7b", tools=TOOLS), 400,
        'The model "codellama:7b" cannot use tools. Those that can: chat, code, llama3.2, '),
    "what no model can": (question(messages=[PICTURE], think=True), 400,
        'The model "chat" cannot see images and think. Those that can: none.'),
})  # fmt: skip
def test_a_refusal_says_what_to_do_in_the_form_of_the_interface(body, status, message):
    code, ollamas = refusal(access(body))
    assert (code, ollamas.startswith(message)) == (status, True), ollamas
    code, openais = refusal(access(body, OPENAI))
    assert (code, openais["message"], openais["type"]) == (status, ollamas, "invalid_request_error")


CHAT = "POST /api/v1/chat"


@cases(("line", "body", "subject"), {
    "another model": (CHAT, '{"model":"phi3:mini"}', '"phi3:mini"'),
    "the alias behind no name": (CHAT, "{}", '"chat"'),
    "of two the one that counts": (CHAT, '{"model":"gpt-oss","model":"chat"}', '"chat"'),
    "the model for embeddings": ("POST /api/embed", "{}", '"nomic-embed-text"'),
    "what cannot be read": (CHAT, "{", "What this request names"),
    "what is too long to be read": (CHAT, '{"a":"%s"}' % ("x" * 21_000_000), "What this request names"),
    "one of the list": ("GET /v1/models/chat", "", '"chat"'),
})  # fmt: skip
def test_what_a_user_may_not_use_is_refused_with_what_he_may(line, body, subject):
    method, path = line.split()
    status, said = refusal(access(body, path, method, by=SOME))
    sentence = f"{subject} is not among the models you may use: llama3.2:1b, gpt-oss."
    assert (status, said["message"] if path.startswith("/v1/") else said) == (403, sentence)


def test_what_the_user_may_use_is_all_there_is_for_him():
    assert went(access(question(model="llama3.2:1b"), by=SOME)) == BOTH
    openai = json.loads(access("", "/v1/models", "GET", by=SOME).answer_body)["data"]
    tags = json.loads(access("", "/api/tags", "GET", by=SOME).answer_body)["models"]
    assert [one["id"] for one in openai] == ["llama3.2:1b", "gpt-oss"]
    assert [one["name"] for one in tags] == ["llama3.2:1b", "gpt-oss:latest"]
    assert refusal(access(question(model="gpt-5"), by=SOME))[1].endswith("There are: llama3.2:1b, gpt-oss.")
    unable = refusal(access(question(model="llama3.2:1b", think=True), by=SOME))[1]
    assert unable.endswith("Those that can: gpt-oss.")
    substitute = answered(access(question(model="gpt-oss"), by=SOME), source="exit", status=503)
    assert "X-AI-Next" not in substitute.answer_headers
    assert refusal(access("{}", by=SOME, X_AI_Again="chat"))[0] == 403


PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


@cases(("status", "kind", "own"), {
    "no such page": (404, PLAIN, True),
    "no such method": (405, PLAIN, True),
    "what it says as JSON stays": (404, JSON, False),
    "so does what the client can correct": (400, PLAIN, False),
})  # fmt: skip
def test_a_page_that_a_node_does_not_have_is_an_error_of_the_same_form(status, kind, own):
    asked = Exchange("POST", "/v1/\udcff", "", CIMultiDict(), "", answer_body=b"404 page not found")
    asked.answer_headers = CIMultiDict({"Content-Type": kind, "Content-Length": "18"})
    answered(asked, status=status)
    assert (b"There is no POST \\/v1\\/? here" in asked.answer_body) == own
    found = (asked.answer_body == b"404 page not found", "Content-Length" in asked.answer_headers)
    assert found == (not own, not own)


def test_the_first_byte_of_a_stream_is_not_waited_for_as_long_as_a_whole_answer():
    streams = [("/api/v1/chat", {}), (OPENAI, {"stream": True})]
    wholes = [("/api/v1/chat", {"stream": False}), (OPENAI, {}), ("/api/embed", {})]
    waits = [access(question(**members), path).timeouts for path, members in streams + wholes]
    assert waits == [(2000, 60000, 180_000)] * 2 + [None] * 3


# --- who answered, and what nginx does next ---


@cases(("upstream_addr", "node", "model"), {
    "the only try answered": (AGX0, "AGX0", "gpt-oss"),
    "the last try answered": (f"{AGX0}, {ORIN0}", "ORIN0", "llama3.2:1b"),
    "an address nobody knows is not guessed": ("192.168.1.9:11434", None, None),
})  # fmt: skip
def test_the_headers_name_the_node_that_answered_and_its_model(monkeypatch, upstream_addr, node, model):
    monkeypatch.setattr(Exchange, "upstream_addr", upstream_addr)
    named = {"X-AI-Node": node, "X-AI-Model": model} if node else {}
    assert dict(answered(access("{}")).answer_headers) == named


AGAIN, EDGE, NOTHING = ("@again", "chat"), ("@edge", "chat"), (None, None)


@cases(("members", "headers", "source", "status", "then"), {
    "a busy node: another one": ({}, {}, "service", 503, AGAIN),
    "an error of a node: another one": ({}, {}, "service", 500, AGAIN),
    "but once": ({}, {"X_AI_Again": "chat", "X_AI_Failed": "AGX0"}, "service", 500, NOTHING),
    "nobody else has the model": ({"model": "gpt-oss"}, {}, "service", 500, NOTHING),
    "an answer is an answer": ({}, {}, "service", 404, NOTHING),
    "no node answers: the edge": ({}, {}, "error", 502, EDGE),
    "all nodes are known to be away: the edge": ({}, {}, "exit", 503, EDGE),
    "nodes with a shorter context come first": ({"messages": [LONG]}, {}, "exit", 503, AGAIN),
    "then the edge": ({"messages": [LONG]}, {"X_AI_Again": "chat"}, "exit", 503, EDGE),
    "the edge cannot think": ({"think": True}, {}, "exit", 503, NOTHING),
    "a declared substitute": ({"model": "gpt-oss"}, {}, "exit", 503, AGAIN),
    "which is away, too": ({"model": "gpt-oss"}, {"X_AI_Again": "chat"}, "error", 504, EDGE),
    "a model without a substitute": ({"model": "gemma3:12b"}, {}, "exit", 503, NOTHING),
    "a mistake in the gateway": ({}, {}, "error", 500, NOTHING),
    "too many requests": ({}, {}, "exit", 429, NOTHING),
})  # fmt: skip
def test_what_is_not_answered_is_asked_elsewhere(monkeypatch, members, headers, source, status, then):
    monkeypatch.setattr(Exchange, "upstream_addr", ORIN0 if "X_AI_Failed" in headers else AGX0)
    asked = answered(access(question(**members), **headers), source=source, status=status)
    found = asked.answer_headers
    assert (found.get("X-Accel-Redirect"), found.get("X-AI-Next")) == then
    assert ("Retry-After" in found) == (source != "service" and status > 500)


@cases(("source", "status", "headers", "redirect"), {
    "nobody is there: its node is asked": ("exit", 503, {}, "@wake"),
    "but once": ("exit", 503, {"X_AI_Again": "woken"}, None),
    "a request that may have arrived is not repeated": ("error", 502, {}, None),
    "a limit holds": ("exit", 429, {}, None),
    "an answer is an answer": ("service", 503, {}, None),
})  # fmt: skip
def test_a_request_to_a_service_that_sleeps_wakes_its_node(monkeypatch, source, status, headers, redirect):
    text = render.render_role("kong", overrides=render.waking())[gateway_lua.KONG_YML]
    monkeypatch.setattr(gateway_lua, "shipped", lambda: parse(text, PLUGINS))
    asked = access("", "/api/v1/image", **headers)
    found = answered(asked, source=source, status=status, answer_body=b'{"message":"no"}').answer_headers
    assert found.get("X-Accel-Redirect") == redirect


@cases(("headers", "upstream", "sent", "stands_in"), {
    "another node": ({"X_AI_Again": "chat", "X_AI_Failed": "AGX0"}, "ai.orin0", "chat", False),
    "a substitute, or a shorter context": ({"X_AI_Again": "chat"}, BOTH, "chat", True),
    "another model": ({"X_AI_Again": "code"}, BOTH, "code", True),
})  # fmt: skip
def test_asked_again_the_request_goes_where_it_was_told(monkeypatch, headers, upstream, sent, stands_in):
    monkeypatch.setattr(Exchange, "upstream_addr", ORIN0)
    asked = access(question(messages=[LONG]), **headers)
    assert (went(asked), json.loads(asked.out_body)["model"]) == (upstream, sent)
    assert ("X-AI-Fallback" in answered(asked).answer_headers) == stands_in


def test_a_substitute_that_cannot_what_the_request_needs_is_not_asked(monkeypatch):
    models = [{"name": "gpt-oss", "tools": True, "substitute": "codellama:7b"}, {"name": "codellama:7b"}]
    text = render.render_role("kong", overrides={"kong_models": models})[gateway_lua.KONG_YML]
    monkeypatch.setattr(gateway_lua, "shipped", lambda: parse(text, PLUGINS))
    for members, then in (({}, "codellama:7b"), ({"tools": TOOLS}, None)):
        asked = answered(access(question(model="gpt-oss", **members)), source="exit", status=503)
        assert asked.answer_headers.get("X-AI-Next") == then


# --- the same decision as in Python ---


@given(st.text() | st.text(st.characters(codec="ascii")))
def test_any_text_is_itself_in_lua(text):
    asked = Exchange("GET", "/", "", CIMultiDict(), "")
    run(asked, [f"kong.response.exit(200, {lua(text)})"], "access")
    assert asked.answer_body == text.encode()


OFFER = st.fixed_dictionaries({
    **{name: st.booleans() for name in (*NEEDS, "spare", "edge", "known")},
    "context": st.sampled_from([9, 99, 999]), "model": st.just("m"), "size_gb": st.just(1),
})  # fmt: skip
NODES = st.dictionaries(st.sampled_from(["N0", "N1", "N2"]), OFFER, min_size=1)
TABLES = st.dictionaries(st.sampled_from(["chat:latest", "a:1", "b:latest"]), NODES, min_size=1)
WANTED: dict[str, Any] = {"tools": {"tools": [1]}, "thinking": {"think": True}, "vision": {"images": ["x"]}}


@settings(max_examples=300, deadline=None)
@given(TABLES, st.sets(st.sampled_from(NEEDS)), st.integers(0, 1500), st.sampled_from([None, "N0", "N2"]))
def test_lua_chooses_as_python_does_and_only_upstreams_that_there_are(offered, needs, context, failed):
    names = {
        name: [{"node": node, "shown": name, **nodes[node]} for node in sorted(nodes)]
        for name, nodes in offered.items()
    }
    upstreams = {" ".join(one): ".".join(one) for one in node_sets(names)}
    constants = "local MAX_BYTES, CONNECT_MS, WRITE_MS, FIRST_BYTE_MS = 9999, 1, 1, 1\n"
    function = constants + table(names, upstreams, []) + (ROOT / "roles/kong/files/route.lua").read_text()
    body: dict[str, object] = {"options": {"num_ctx": context}} if context else {}
    for need in needs:
        body |= WANTED[need]
    for name, offers in names.items():
        headers = CIMultiDict({"X-AI-Failed": failed} if failed else {})
        asked = Exchange("POST", "/api/chat", "", headers, "")
        asked.out_body = json.dumps({**body, "model": name}).encode()
        run(asked, [function], "access")
        # A tool without a word costs the three bytes of its number.
        chosen = offers_for(offers, needs, max(context, len(name) / 3), failed)
        assert asked.upstream == ".".join(offer["node"] for offer in chosen)
        assert asked.status == (0 if chosen else 400)
