"""What the gateway sends to the database of a request: the Lua that ships, on answers of every form."""

import base64
import json
from typing import Any

import pytest
import render
from gateway_lua import KONG_YML, record, run, texts
from multidict import CIMultiDict
from standins.kong.kong_standin.config import Credential, parse
from standins.kong.kong_standin.exchange import Exchange
from standins.kong.kong_standin.schema import PLUGINS
from tables import cases

CHAT, OPENAI, GENERATE = "/api/v1/chat", "/v1/chat/completions", "/api/generate"


def lines(*parts: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(part).encode() + b"\n" for part in parts)


def events(*parts: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(part).encode() + b"\n\n" for part in parts)


def delta(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"model": "m", "choices": [choice], **more}


def whole(**members: Any) -> bytes:
    return json.dumps({"model": "m", **members}).encode()


ENDED: dict[str, Any] = {"model": "m", "done": True, "prompt_eval_count": 7, "eval_count": 2}
STOPPED = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": None}
COUNTS = {"usage": {"prompt_tokens": 7, "completion_tokens": 2}}
USAGE: dict[str, Any] = {"choices": [], **COUNTS}
TOKENS = {"usage": {"input_tokens": 7, "output_tokens": 2}}
DONE = b"data: [DONE]\n\n"
ASKED = {
    "/v1/completions": {"prompt": "Hello?"}, "/v1/responses": {"input": "Hello?"},
    GENERATE: {"prompt": "Hello?"},
}  # fmt: skip
MESSAGES = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]}


def said(entry: dict[str, Any], name: str) -> str:
    """A text of an entry."""
    return base64.b64decode(entry["exchange"][name]).decode()


@pytest.mark.parametrize("size", [1, 7, 10_000], ids=["byte by byte", "in small parts", "in one part"])
@cases(("path", "members", "answer"), {
    "Ollama's chat": (
        CHAT, {}, lines({"message": {"content": "He"}}, {"message": {"content": "y"}, **ENDED})),
    "a chat in one piece": (CHAT, {"stream": False}, lines({"message": {"content": "Hey"}, **ENDED})[:-1]),
    "Ollama's generate": (
        GENERATE, {}, lines({"response": "He"}, {"response": "y"}, {"response": "", **ENDED})),
    "OpenAI's stream": (OPENAI, {"stream": True}, events(delta("He"), delta("y"), STOPPED, USAGE) + DONE),
    "OpenAI's whole answer": (
        OPENAI, {}, whole(choices=[{"message": {"content": "Hey"}, "finish_reason": "stop"}], **COUNTS)),
    "its older interface": (
        "/v1/completions", {}, whole(choices=[{"text": "Hey", "finish_reason": "stop"}], **COUNTS)),
    "its newer interface": (
        "/v1/responses", {}, whole(status="completed", output=[
            {"type": "message", "content": [{"type": "output_text", "text": "Hey"}]}], **TOKENS)),
    "the stream of that": ("/v1/responses", {"stream": True}, events(
        {"type": "response.output_text.delta", "delta": "He"},
        {"type": "response.output_text.delta", "delta": "y"},
        {"type": "response.completed", "response": {"model": "m", **TOKENS}})),
    "words between blanks and other events": (
        OPENAI, {"stream": True}, b": ping\r\n\r\nevent: x\r\n" + events(delta("He"), delta("y")).replace(
            b"\n", b"\r\n") + events(STOPPED, USAGE)),
})  # fmt: skip
def test_an_answer_of_any_form_and_in_any_parts_is_stored_whole(path, members, answer, size):
    parts = [answer[at : at + size] for at in range(0, len(answer), size)]
    entry = record(path, json.dumps(members | ASKED.get(path, MESSAGES)), *parts)
    names = ("role", "model", "prompt_tokens", "completion_tokens", "whole")
    assert [entry["exchange"][name] for name in names] == ["user", "m", 7, 2, True]
    assert (said(entry, "question"), said(entry, "answer")) == ("Hello?", "Hey")


@cases("answer", {
    "a node that breaks off": lines({"message": {"content": "Hey"}}),
    "in the middle of a line": lines({"message": {"content": "Hey"}}) + b'{"mess',
    "an error on the way": lines({"message": {"content": "Hey"}}, {"error": "the runner died"}),
    "garbage": lines({"message": {"content": "Hey"}})
    + b'\xff\0\n[1,2]\n"x"\n7\nnull\n{"choices":7,"usage":7}\n',
})  # fmt: skip
def test_of_an_answer_that_breaks_off_what_came_is_stored_as_a_part(answer):
    entry = record(CHAT, json.dumps(MESSAGES), answer)
    assert (said(entry, "answer"), entry["exchange"]["whole"]) == ("Hey", False)


IMAGE = "A" * 1_000_000


@cases(("path", "members"), {
    "Ollama's": (CHAT, {"messages": [{"role": "user", "content": "Hello?", "images": [IMAGE, IMAGE]}]}),
    "OpenAI's": (OPENAI, {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "Hello?"}, {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": {"url": IMAGE}}]}]}),
    "without a chat": (GENERATE, {"prompt": "Hello?", "images": [IMAGE, IMAGE]}),
})  # fmt: skip
def test_of_images_their_size_is_stored(path, members):
    entry = record(path, json.dumps(members | {"model": "gemma3:12b"}), lines(ENDED))
    assert (said(entry, "question"), entry["exchange"]["images"]) == ("Hello?", "1000000,1000000")
    assert len(json.dumps(entry)) < 2000


def test_long_texts_are_stored_to_the_limit_without_half_a_character():
    for length, whole in ((100_000, True), (2_000_000, False)):
        members = {"messages": [{"role": "user", "content": "é" * length}]}
        # Of a line in parts nobody looks for the end again and again: that would take an hour.
        answer = b"{}\n" + lines({"message": {"content": "é" * length}, **ENDED})
        entry = record(CHAT, json.dumps(members), answer[:-9], answer[-9:])
        kept = min(length, 1024 * 1024 // 2)
        assert abs(len(said(entry, "question")) - kept) <= 1
        assert abs(len(said(entry, "answer")) - kept) <= 1
        assert (entry["exchange"]["whole"], entry["exchange"]["question_whole"]) == (whole, whole)
    job = record("/api/v1/image", json.dumps({"prompt": "x" * 2_000_000}), b'{"prompt_id":"j1"}')
    assert (said(job, "workflow"), job["exchange"]["job"]) == ("null", "j1"), "a part of a graph is none"


@cases("body", {
    "messages that are none": '{"messages":[7,null,"x",[],{"content":7},{"content":"x"}]}',
    "parts that are none": '{"messages":[{"content":[7,null,{"text":{}},{"text":"x"}]}]}',
    "a role of its own": '{"messages":[{"role":{"a":1},"content":"x"},{"role":"root","content":"x"}]}',
    "images that are none": '{"model":"gemma3:12b","messages":[{"content":"x","images":[7,null,{}]}]}',
    "no list of them": '{"messages":[{"content":"x","images":7}]}',
    "a zero byte": '{"messages":[{"content":"x\\u0000y"}]}',
})  # fmt: skip
def test_whatever_a_client_sends_the_entry_is_plain_json(body):
    entry = record(CHAT, body, lines({"message": {"content": "Hey"}, **ENDED}))
    assert (said(entry, "answer"), entry["exchange"]["role"]) == ("Hey", "user")
    assert json.dumps(entry).isascii()
    assert b"\0" not in base64.b64decode(entry["exchange"]["question"])


def test_no_key_and_nothing_else_of_a_request_is_sent():
    secret = "sk-very-secret"
    headers: dict[str, Any] = {"apikey": secret, "Authorization": f"Bearer {secret}", "Cookie": secret}
    for path in (CHAT, "/api/v1/image/queue"):
        assert secret not in json.dumps(record(path, json.dumps(MESSAGES), lines(ENDED), **headers))


@cases(("path", "body", "more"), {
    "an embedding": ("/api/embed", '{"input":"x"}', {}),
    "OpenAI's": ("/v1/embeddings", '{"input":"x"}', {}),
    "what a model is": ("/api/show", '{"model":"phi3:mini"}', {}),
    "a model that is only loaded": (GENERATE, '{"model":"phi3:mini","prompt":""}', {}),
    "what is no JSON": (CHAT, "x", {}),
    "an error": (CHAT, json.dumps(MESSAGES), {"status": 500}),
})  # fmt: skip
def test_of_other_requests_only_the_fact_is_sent(path, body, more):
    assert "exchange" not in record(path, body, b'{"error":"x"}', **more)


@cases("overrides", {
    "one user": render.with_users({"name": "anna", "role": "user", "store": False}),
    "everybody": {"kong_history_store": False},
})  # fmt: skip
def test_storing_can_be_switched_off(monkeypatch, overrides):
    config = parse(render.render_role("kong", overrides=overrides)[KONG_YML], PLUGINS)
    monkeypatch.setattr("gateway_lua.shipped", lambda: config)
    said_by = {user: record(CHAT, json.dumps(MESSAGES), lines(ENDED), user=user) for user in ("anna", "bert")}
    assert [user for user, entry in said_by.items() if "exchange" in entry] == ["bert"] * (
        "site_users" in overrides
    )


OWN = "11111111-1111-4111-8111-111111111111"


@pytest.mark.parametrize(("sent", "kept"), [(OWN, OWN), (OWN + "1", None), ("' OR 1=1", None)])
def test_a_client_may_name_its_conversation(sent, kept):
    entry = record(CHAT, json.dumps(MESSAGES), lines(ENDED), X_Conversation_Id=sent)
    assert entry["exchange"].get("conversation") == kept


def test_a_client_that_sends_what_was_said_continues_the_conversation():
    def turn(*contents: str, answer: str) -> dict[str, Any]:
        roles = ("user", "assistant")
        messages = [{"role": roles[at % 2], "content": text} for at, text in enumerate(contents)]
        entry = record(
            CHAT, json.dumps({"messages": messages}), lines({"message": {"content": answer}, **ENDED})
        )
        found: dict[str, Any] = entry["exchange"]
        return found

    first = turn("One?", answer=" It is\n one. ")
    second = turn("One?", "It is one.", "Two?", answer="Two.")
    assert (first["before"], second["before"]) == ("", first["chain"])
    assert turn("One?", "It is two.", "Two?", answer="Two.")["before"] != first["chain"]


# --- asking for it ---


def history(path: str, method: str = "GET", **headers: str) -> Exchange:
    asked = Exchange(method, path, "select=*", CIMultiDict(headers), "127.0.0.1")
    asked.credential = Credential("id", "anna", ("main",))
    run(asked, texts(asked, "access"), "access")
    return asked


@pytest.mark.parametrize(("path", "method", "called", "body"), [
    ("/api/v1/history", "GET", "/rpc/history", {}),
    (f"/api/v1/history/{OWN}", "GET", "/rpc/history_one", {"id": OWN}),
    (f"/api/v1/history/{OWN}", "DELETE", "/rpc/history_delete", {"id": OWN}),
])  # fmt: skip
def test_the_history_is_asked_for_in_the_name_of_whose_key_it_was(path, method, called, body):
    sent = history(
        path, method, **{"X-Consumer-Username": "bert", "Prefer": "tx=rollback", "Authorization": "x"}
    )
    assert (sent.out_method, sent.out_path, sent.out_query) == ("POST", called, "")
    assert (json.loads(sent.out_body), sent.out_headers["X-Consumer-Username"]) == (body, "anna")
    assert ("Prefer" in sent.out_headers, sent.out_headers["Authorization"][:10]) == (False, "Bearer eyJ")


@pytest.mark.parametrize(("path", "method"), [
    ("/api/v1/history", "DELETE"), ("/api/v1/history/", "GET"), ("/api/v1/history/1", "GET"),
    (f"/api/v1/history/{OWN}/x", "GET"), ("/api/v1/historyx", "GET"), (f"/api/v1/history/{OWN}?x", "DELETE"),
])  # fmt: skip
def test_what_is_no_conversation_is_not_found(path, method):
    asked = history(path, method)
    run(asked, texts(asked, "header_filter"), "header_filter")
    run(asked, texts(asked, "body_filter"), "body_filter")
    said = json.loads(asked.answer_body)["error"]
    assert (asked.status, said.startswith("There is no conversation of that name")) == (404, True)
