"""The Lua that ships in kong.yml, run in the sandbox of the stand-in for Kong, under LuaJIT."""

import json
from functools import cache
from typing import Any

import render
from multidict import CIMultiDict
from standins.kong.kong_standin.config import Config, Credential, parse
from standins.kong.kong_standin.exchange import Exchange, ExitError
from standins.kong.kong_standin.http_log import record_of
from standins.kong.kong_standin.lua_functions import Functions
from standins.kong.kong_standin.router import Router
from standins.kong.kong_standin.schema import FUNCTION_PLUGINS, PLUGINS

KONG_YML = "/opt/aicluster/kong/secrets/kong.yml"
RUNNER = Functions(["cjson.safe"])
# Whom a list of models is made for, and one who may use all.
SOME, ALL = (Credential("id", name, ("main",)) for name in ("some", "default"))


@cache
def shipped() -> Config:
    users = render.with_users({"name": "some", "role": "user", "models": ["gpt-oss", "Llama3.2:1b"]})
    return parse(render.render_role("kong", overrides=users)[KONG_YML], PLUGINS)


def texts(asked: Exchange, phase: str) -> list[str]:
    """The functions of a phase on the route that a request takes."""
    match = Router(shipped().routes).match(asked.method, asked.path)
    passed = match[0].plugins if match else shipped().everywhere
    return [text for one in passed if one.name in FUNCTION_PLUGINS for text in one.config.get(phase, [])]


def run(asked: Exchange, functions: list[str], phase: str) -> None:
    try:
        RUNNER.run(asked, functions, phase)
    except ExitError:
        assert asked.status


def record(
    path: str,
    body: str | bytes,
    *chunks: bytes,
    user: str = "anna",
    method: str = "POST",
    status: int = 200,
    **headers: str,
) -> dict[str, Any]:
    """The entry that http-log sends of a request a service answers in these parts, as its reader gets it."""
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    asked = Exchange(method, path, "", named, "127.0.0.1")
    asked.credential = Credential("id", user, ("main",))
    asked.body = asked.out_body = body.encode() if isinstance(body, str) else body
    run(asked, texts(asked, "access"), "access")
    assert not asked.status, asked.answer_body
    asked.source, asked.status, asked.last = "service", status, False
    run(asked, texts(asked, "header_filter"), "header_filter")
    for chunk in chunks:
        asked.chunk = chunk
        run(asked, texts(asked, "body_filter"), "body_filter")
        assert asked.chunk == chunk, "an answer passes as it came"
    run(asked, texts(asked, "log"), "log")
    found: dict[str, Any] = json.loads(json.dumps(record_of(asked)))
    return found
