"""Kong's plugin interface for Lua, as far as the Lua that ships uses it, over the exchange under way.

A name that is missing here fails loudly: look it up in Kong's documentation, then add it.
"""

import base64
import hashlib
import json
import logging
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from .exchange import JSON_TYPE, Exchange, ExitError

LOG = logging.getLogger("kong.lua")
# What comes from Lua or goes there: its types are Lua's. And the same in Python.
LuaValue: TypeAlias = Any
Value: TypeAlias = Any
# A table whose members were given; `value` knows the others that there are, and fails for what is none.
STRICT = """
return function(members, value)
  return setmetatable(members, {
    __index = function(_, key) return value(key) end,
    __newindex = function(_, key) error(tostring(key) .. " must not be set") end,
  })
end
"""
BEFORE_CONTENT = ("access",)
HEADERS = ("access", "header_filter")
BODY = ("body_filter",)
AFTER_HEADERS = ("header_filter", "body_filter", "log")
ANY = ("access", *AFTER_HEADERS)


def bytes_text(text: str) -> str:
    """Return text as Lua has it here: one character per byte of its UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def real_text(text: str) -> str:
    """Return the text whose UTF-8 bytes these are."""
    return text.encode("latin-1").decode("utf-8", "surrogateescape")


def plain(value: LuaValue) -> Value:
    """Return nothing, a text, a number, or a table of them, as Python's. Raises ValueError for others."""
    if isinstance(value, str):
        return real_text(value)
    if value is None or isinstance(value, int | float):
        return value
    if not hasattr(value, "items"):
        raise ValueError(f"{value} has no JSON form in the stand-in for Kong")
    return {real_text(str(key)): plain(member) for key, member in value.items()}


class Pdk:
    """The tables of one runtime, by name; `exchange` is what they are about."""

    def __init__(self, lua: LuaValue) -> None:
        self.exchange: Exchange
        # JSON's null is a value of its own in Lua, because nil would drop the key.
        self.lua, self.null = lua, lua.eval("newproxy()")
        self._strict = lua.execute(STRICT)
        self.tables = {name: self._table(name) for name in ("kong", "ngx", "cjson.safe")}

    def _table(self, table: str) -> LuaValue:
        members: dict[str, LuaValue] = {}
        for name in [*FUNCTIONS, *VALUES]:
            key, _, below = name.removeprefix(f"{table}.").partition(".")
            if not name.startswith(f"{table}.") or key in members:
                continue
            if below:
                members[key] = self._table(f"{table}.{key}")
            elif name in FUNCTIONS:
                members[key] = self._function(name)
        return self._strict(self.lua.table_from(members), lambda key: self._value(f"{table}.{key}"))

    def _value(self, name: str) -> LuaValue:
        if name not in VALUES:
            raise ValueError(f"{name} is not in the stand-in for Kong")
        return VALUES[name](self)

    def _function(self, name: str) -> Callable[..., LuaValue]:
        phases, function = FUNCTIONS[name]

        def checked(*arguments: LuaValue) -> LuaValue:
            if self.exchange.phase not in phases:
                allowed, phase = ", ".join(phases), self.exchange.phase
                raise ValueError(f"function cannot be called in {phase} phase (only in: {allowed})")
            return function(self, *arguments)

        return checked


def decode(pdk: Pdk, text: str) -> LuaValue:
    """Return the value of a JSON text; nil and a message for what is none."""

    def to_lua(value: Value) -> LuaValue:
        if isinstance(value, dict):
            return pdk.lua.table_from({bytes_text(key): to_lua(member) for key, member in value.items()})
        if isinstance(value, list):
            return pdk.lua.table_from([to_lua(member) for member in value])
        return bytes_text(value) if isinstance(value, str) else pdk.null if value is None else value

    try:
        # Numbers are doubles in Lua.
        return to_lua(json.loads(text.encode("latin-1"), parse_int=float))
    except (ValueError, RecursionError) as problem:
        if isinstance(problem, json.JSONDecodeError) and problem.msg == "Extra data":
            at = len(problem.doc[: problem.pos].encode()) + 1
            return None, f"Expected the end but found invalid token at character {at}"
        return None, str(problem)


def encode(_pdk: Pdk, value: LuaValue) -> str:
    """Return a value as JSON; cjson writes no blanks, and escapes slashes."""
    text = json.dumps(plain(value), ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    return bytes_text(text)


def get_raw_body(pdk: Pdk, limit: float = 0) -> LuaValue:
    """Return the body; nil and a message if it is bigger than a limit above 0."""
    body = pdk.exchange.out_body
    if 0 < limit < len(body):
        return None, f"request body file too big: {len(body)} > {int(limit)}"
    return body.decode("latin-1")


def setting(name: str) -> Callable[[Pdk, str], None]:
    """Return the function that sends the request elsewhere: another path, query, method or upstream."""
    return lambda pdk, value: setattr(pdk.exchange, name, value)


def set_status(pdk: Pdk, status: float) -> None:
    """Answer with another status."""
    pdk.exchange.status = int(status)


def setting_header(headers: str) -> Callable[[Pdk, str, str], None]:
    """Return the function that sets a header, of what is sent on or of the answer."""

    def set_header(pdk: Pdk, name: str, value: str) -> None:
        getattr(pdk.exchange, headers)[name] = real_text(value)

    return set_header


def clearing_header(headers: str) -> Callable[[Pdk, str], None]:
    """Return the function that takes a header away."""
    return lambda pdk, name: getattr(pdk.exchange, headers).popall(name, None)


def set_raw_body(pdk: Pdk, body: str) -> None:
    """Send another body."""
    pdk.exchange.out_body = body.encode("latin-1")


def exit_(pdk: Pdk, status: int, body: LuaValue, headers: LuaValue = None) -> None:
    """Answer with a text, or with a table as JSON, and end the phase."""
    text = body if isinstance(body, str) else encode(pdk, body)
    pdk.exchange.answer(
        int(status), text.encode("latin-1"), plain(headers or {}) or {"Content-Type": JSON_TYPE}
    )
    raise ExitError


def get_answer_body(pdk: Pdk) -> str | None:
    """Return the answer's body; nothing, and hold this part back, until its last part is here."""
    exchange = pdk.exchange
    exchange.answer_body, exchange.chunk = exchange.answer_body + exchange.chunk, b""
    return exchange.answer_body.decode("latin-1") if exchange.last else None


def set_answer_body(pdk: Pdk, body: str) -> None:
    """Answer with another body."""
    pdk.exchange.answer_body = pdk.exchange.chunk = body.encode("latin-1")


def md5(_pdk: Pdk, text: str) -> str:
    """Return the digest of a text."""
    return hashlib.md5(text.encode("latin-1"), usedforsecurity=False).hexdigest()


def log_error(_pdk: Pdk, *parts: LuaValue) -> None:
    """Log an error."""
    LOG.error("%s", "".join(map(str, parts)))


def set_timeouts(pdk: Pdk, connect: float, write: float, read: float) -> None:
    """Wait for other times, in milliseconds."""
    pdk.exchange.timeouts = (int(connect), int(write), int(read))


def set_serialize_value(pdk: Pdk, name: str, value: LuaValue) -> None:
    """Set a value of the record that http-log sends, nil takes it away; dots lead into its objects."""
    pdk.exchange.serialized.append((name, plain(value)))


def get_consumer(pdk: Pdk) -> LuaValue:
    """Return whose key it was; nil before it is known."""
    known = pdk.exchange.credential
    return known and pdk.lua.table_from({"id": known.consumer_id, "username": known.username})


def get_credential(pdk: Pdk) -> LuaValue:
    """Return the key's entity, without the key; nil before it is known."""
    known = pdk.exchange.credential
    return known and pdk.lua.table_from({"tags": pdk.lua.table_from(map(bytes_text, known.tags))})


def shared_context(pdk: Pdk) -> LuaValue:
    """Return a table that lives as long as the request."""
    if pdk.exchange.context is None:
        pdk.exchange.context = pdk.lua.table()
    return pdk.exchange.context


FUNCTIONS: dict[str, tuple[tuple[str, ...], Callable[..., LuaValue]]] = {
    "cjson.safe.decode": (ANY, decode),
    "cjson.safe.encode": (ANY, encode),
    "kong.client.get_consumer": (ANY, get_consumer),
    "kong.client.get_credential": (ANY, get_credential),
    "kong.log.err": (ANY, log_error),
    "kong.log.set_serialize_value": (ANY, set_serialize_value),
    "kong.request.get_header": (ANY, lambda pdk, name: pdk.exchange.headers.get(name)),
    "kong.request.get_method": (ANY, lambda pdk: pdk.exchange.method),
    "kong.request.get_path": (ANY, lambda pdk: bytes_text(pdk.exchange.path)),
    "kong.request.get_raw_body": (BEFORE_CONTENT, get_raw_body),
    "kong.response.clear_header": (HEADERS, clearing_header("answer_headers")),
    "kong.response.exit": (BEFORE_CONTENT, exit_),
    "kong.response.get_header": (AFTER_HEADERS, lambda pdk, name: pdk.exchange.answer_headers.get(name)),
    "kong.response.get_raw_body": (BODY, get_answer_body),
    "kong.response.get_source": (AFTER_HEADERS, lambda pdk: pdk.exchange.source),
    "kong.response.get_status": (AFTER_HEADERS, lambda pdk: pdk.exchange.status),
    "kong.response.set_header": (HEADERS, setting_header("answer_headers")),
    "kong.response.set_raw_body": (BODY, set_answer_body),
    "kong.response.set_status": (HEADERS, set_status),
    "kong.service.request.clear_header": (BEFORE_CONTENT, clearing_header("out_headers")),
    "kong.service.request.set_header": (BEFORE_CONTENT, setting_header("out_headers")),
    "kong.service.request.set_method": (BEFORE_CONTENT, setting("out_method")),
    "kong.service.request.set_path": (BEFORE_CONTENT, setting("out_path")),
    "kong.service.request.set_raw_body": (BEFORE_CONTENT, set_raw_body),
    "kong.service.request.set_raw_query": (BEFORE_CONTENT, setting("out_query")),
    "kong.service.set_timeouts": (BEFORE_CONTENT, set_timeouts),
    "kong.service.set_upstream": (BEFORE_CONTENT, setting("upstream")),
    "ngx.encode_base64": (ANY, lambda _pdk, text: base64.b64encode(text.encode("latin-1")).decode()),
    "ngx.md5": (ANY, md5),
    "ngx.utctime": (ANY, lambda _pdk: time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())),
}
"""Function -> the phases it may be called in, as in Kong's PDK, and what it does."""
VALUES: dict[str, Callable[[Pdk], LuaValue]] = {
    "cjson.safe.null": lambda pdk: pdk.null,
    "kong.ctx.shared": shared_context,
    "ngx.arg": lambda pdk: pdk.lua.table_from([pdk.exchange.chunk.decode("latin-1"), pdk.exchange.last]),
    "ngx.var.upstream_addr": lambda pdk: pdk.exchange.upstream_addr or None,
}
