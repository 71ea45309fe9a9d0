"""Kong's plugin interface (`kong`, `ngx`) for Lua, over the exchange under way.

A name that is missing here fails loudly: look it up in Kong's documentation, then add it.
"""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable
from functools import wraps
from urllib.parse import parse_qsl, quote, unquote, urlencode

from multidict import CIMultiDict

from .exchange import Exchange, ExitError
from .lua_json import Json, LuaValue, bytes_text, real_text
from .schema import is_ip

LOG = logging.getLogger("kong.lua")
MIN_STATUS, MAX_STATUS, MIN_ERROR_STATUS = 100, 599, 400

# The phases each group of functions may be called in, as in Kong's PDK.
REQUEST = ("rewrite", "access", "header_filter", "body_filter", "log")
BEFORE_CONTENT = ("rewrite", "access")
HEADERS = ("rewrite", "access", "header_filter")
AFTER_HEADERS = ("header_filter", "body_filter", "log")
ANY = ("rewrite", "access", "header_filter", "body_filter", "log")

STRICT = """
return function(name, members)
  return setmetatable(members, {
    __index = function(_, key)
      error(name .. "." .. tostring(key) .. " is not in the stand-in for Kong", 2)
    end,
  })
end
"""
PER_REQUEST = """
return function(members, get, set)
  return setmetatable(members, {
    __index = function(_, key) return get(key) end,
    __newindex = function(_, key, value) set(key, value) end,
  })
end
"""
# Header tables may be asked with any case, and with _ for -.
ANY_CASE = """
return function(headers)
  return setmetatable(headers, { __index = function(t, key)
    return rawget(t, (tostring(key):lower():gsub("_", "-")))
  end })
end
"""
LEVELS = {"debug": 10, "info": 20, "notice": 25, "warn": 30, "err": 40, "crit": 50, "alert": 50, "emerg": 50}


class Pdk:
    """The tables `kong` and `ngx` of one runtime; `exchange` is what they are about."""

    def __init__(self, lua: LuaValue) -> None:
        """Build the tables."""
        self.exchange: Exchange | None = None
        self._lua = lua
        self._json = Json(lua)
        self._strict, self._any_case = lua.execute(STRICT), lua.execute(ANY_CASE)
        self._contexts: dict[str, dict[str, LuaValue]] = {}
        self.kong = self._kong()
        self.ngx = self._ngx()
        safe = self._table("cjson.safe", self._cjson())
        self.modules: dict[str, LuaValue] = {"cjson.safe": safe, "cjson": safe, "kong": self.kong}

    @property
    def _now(self) -> Exchange:
        if self.exchange is None:
            raise RuntimeError("no request is under way")
        return self.exchange

    def _table(self, name: str, members: dict[str, LuaValue]) -> LuaValue:
        return self._strict(name, self._lua.table_from(members))

    def _in(self, phases: tuple[str, ...], function: Callable[..., LuaValue]) -> Callable[..., LuaValue]:
        """Return the function, refusing to run in other phases."""

        @wraps(function)
        def checked(*arguments: LuaValue) -> LuaValue:
            if self._now.phase not in phases:
                allowed = ", ".join(phases)
                raise ValueError(f"function cannot be called in {self._now.phase} phase (only in: {allowed})")
            return function(*arguments)

        return checked

    def _group(
        self, name: str, groups: dict[tuple[str, ...], dict[str, Callable[..., LuaValue]]]
    ) -> LuaValue:
        members = {key: self._in(phases, f) for phases, fs in groups.items() for key, f in fs.items()}
        return self._table(name, members)

    # --- kong ---

    def _kong(self) -> LuaValue:
        service = {
            "request": self._service_request(),
            "response": self._group(
                "kong.service.response",
                {
                    AFTER_HEADERS: {
                        "get_status": lambda: self._now.status if self._now.source == "service" else None,
                        "get_header": lambda name: self._get(self._now.answer_headers, name),
                        "get_headers": lambda *_: self._all(self._now.answer_headers),
                    }
                },
            ),
            "set_upstream": self._in(("access",), self._set_upstream),
            "set_target": self._in(("access",), self._set_target),
            "set_retries": self._in(("access",), self._set_retries),
            "set_timeouts": self._in(("access",), self._set_timeouts),
        }
        return self._table("kong", {
            "request": self._request(),
            "response": self._response(),
            "service": self._table("kong.service", service),
            "client": self._group("kong.client", {REQUEST: {
                "get_ip": lambda: self._now.remote_addr,
                "get_forwarded_ip": lambda: self._now.client_ip,
                "get_consumer": lambda: self._entity(self._now.consumer, "id", "username", "custom_id"),
                "get_credential": lambda: self._entity(self._now.credential, "id", "key"),
            }}),
            "router": self._group("kong.router", {ANY: {
                "get_route": lambda: self._entity(self._now.route, "id", "name"),
                "get_service": lambda: self._entity(self._now.service, "id", "name", "host", "port", "path"),
            }}),
            "ctx": self._per_request({}, self._context, self._read_only),
            "log": self._log(),
        })  # fmt: skip

    def _request(self) -> LuaValue:
        def path_with_query() -> str:
            return self._now.path + (f"?{self._now.query}" if self._now.query else "")

        return self._group("kong.request", {
            REQUEST: {
                "get_scheme": lambda: "http",
                "get_host": lambda: self._now.host.partition(":")[0],
                "get_port": lambda: int(self._now.host.partition(":")[2] or 80),
                "get_http_version": lambda: float(self._now.version),
                "get_method": lambda: self._now.method,
                "get_path": lambda: bytes_text(unquote(self._now.path)),
                "get_raw_path": lambda: self._now.path,
                "get_path_with_query": path_with_query,
                "get_raw_query": lambda: self._now.out_query,
                "get_query": lambda *_: self._query(),
                "get_query_arg": lambda name: self._query()[name],
                "get_header": lambda name: self._get(self._now.out_headers, name),
                "get_headers": lambda *_: self._all(self._now.out_headers),
            },
            BEFORE_CONTENT: {
                "get_raw_body": self._raw_body,
                "get_body": self._body,
            },
        })  # fmt: skip

    def _raw_body(self, limit: int | None = None) -> LuaValue:
        body = self._now.out_body
        if limit is not None and 0 < limit < len(body):
            return None, f"request body file too big: {len(body)} > {int(limit)}"
        return body.decode("latin-1")

    def _body(self, *_: LuaValue) -> LuaValue:
        media = self._now.out_headers.get("content-type", "").partition(";")[0].strip().lower()
        if media == "application/json":
            decoded = self._json.decode(self._now.out_body.decode("latin-1"))
            return (None, "invalid json body") if isinstance(decoded, tuple) else decoded
        if media == "application/x-www-form-urlencoded":
            pairs = parse_qsl(self._now.out_body.decode("latin-1"), keep_blank_values=True)
            return self._lua.table_from(dict(pairs))
        return None, f"unsupported content type '{media}'" if media else "missing content type"

    def _query(self) -> LuaValue:
        pairs = parse_qsl(self._now.out_query, keep_blank_values=True, encoding="latin-1")
        return self._lua.table_from(dict(pairs))

    def _get(self, headers: CIMultiDict[str], name: str) -> str | None:
        value = headers.get(name.replace("_", "-"), headers.get(name))
        return None if value is None else bytes_text(value)

    def _all(self, headers: CIMultiDict[str]) -> LuaValue:
        found: dict[str, LuaValue] = {}
        for name in {name.lower() for name in headers}:
            values = [bytes_text(value) for value in headers.getall(name)]
            found[name] = values[0] if len(values) == 1 else self._lua.table_from(values)
        return self._any_case(self._lua.table_from(found))

    def _entity(self, entity: object, *fields: str) -> LuaValue:
        if entity is None:
            return None
        values = {name: getattr(entity, name) for name in fields}
        return self._lua.table_from(
            {k: bytes_text(v) if isinstance(v, str) else v for k, v in values.items()}
        )

    def _response(self) -> LuaValue:
        def headers() -> CIMultiDict[str]:
            return self._now.answer_headers

        return self._group("kong.response", {
            BEFORE_CONTENT: {"exit": self._exit, "error": self._error},
            HEADERS: {
                "set_status": self._set_status,
                **self._changers(headers),
            },
            AFTER_HEADERS: {
                "get_status": lambda: self._now.status,
                "get_header": lambda name: self._get(headers(), name),
                "get_headers": lambda *_: self._all(headers()),
                "get_source": lambda: self._now.source,
            },
        })  # fmt: skip

    def _value(self, value: LuaValue) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int | float):
            return f"{value:.14g}"
        if not isinstance(value, str):
            raise TypeError(
                f"invalid header value: got {type(value).__name__}, expected string, number or boolean"
            )
        return real_text(value)

    def _set(self, headers: CIMultiDict[str], name: str, value: LuaValue) -> None:
        values = list(value.values()) if hasattr(value, "values") else [value]
        headers.popall(name, None)
        for one in values:
            headers.add(name, self._value(one))

    def _changers(self, headers: Callable[[], CIMultiDict[str]]) -> dict[str, Callable[..., None]]:
        """Return the functions that change headers, for a request's or an answer's."""

        def set_header(name: str, value: LuaValue) -> None:
            self._set(headers(), name, value)

        def add_header(name: str, value: LuaValue) -> None:
            headers().add(name, self._value(value))

        def set_headers(table: LuaValue) -> None:
            for name, value in table.items():
                self._set(headers(), name, value)

        def clear_header(name: str) -> None:
            headers().popall(name, None)

        return {f.__name__: f for f in (set_header, add_header, set_headers, clear_header)}

    def _set_status(self, status: int) -> None:
        if not MIN_STATUS <= status <= MAX_STATUS:
            raise ValueError(f"code must be a number between {MIN_STATUS} and {MAX_STATUS}")
        self._now.status = int(status)

    def _exit(self, status: int, body: LuaValue = None, headers: LuaValue = None) -> None:
        if not MIN_STATUS <= status <= MAX_STATUS:
            raise ValueError(f"code must be a number between {MIN_STATUS} and {MAX_STATUS}")
        sent: dict[str, str] = {}
        if body is not None and not isinstance(body, str):
            body = self._json.encode(body)
            if isinstance(body, tuple):
                raise ValueError(f"body encoding failed while flushing response: {body[1]}")
            sent["Content-Type"] = "application/json; charset=utf-8"
        for name, value in headers.items() if headers is not None else ():
            sent[name] = self._value(value)
        self._now.answer(int(status), (body or "").encode("latin-1"), sent)
        raise ExitError

    def _error(self, status: int, message: LuaValue = None, headers: LuaValue = None) -> None:
        if not MIN_ERROR_STATUS <= status <= MAX_STATUS:
            raise ValueError(f"code must be a number between {MIN_ERROR_STATUS} and {MAX_STATUS}")
        sent = {name: self._value(value) for name, value in headers.items()} if headers is not None else {}
        self._now.exit(int(status), None if message is None else real_text(str(message)), sent)

    def _service_request(self) -> LuaValue:
        def headers() -> CIMultiDict[str]:
            return self._now.out_headers

        return self._group("kong.service.request", {BEFORE_CONTENT: {
            **self._changers(headers),
            "set_raw_body": self._set_raw_body,
            "set_body": self._set_body,
            "set_path": self._set_path,
            "set_method": lambda method: setattr(self._now, "out_method", str(method)),
            "set_raw_query": lambda query: setattr(self._now, "out_query", str(query)),
            "set_query": lambda table: setattr(self._now, "out_query", urlencode(sorted(table.items()))),
            "set_scheme": lambda _scheme: None,
        }})  # fmt: skip

    def _set_raw_body(self, body: LuaValue) -> None:
        if not isinstance(body, str):
            raise TypeError("body must be a string")
        self._now.out_body = body.encode("latin-1")
        self._now.out_headers["Content-Length"] = str(len(body))

    def _set_body(self, table: LuaValue, media: str | None = None) -> LuaValue:
        media = media or self._now.out_headers.get("content-type") or "application/json"
        if not media.startswith("application/json"):
            return None, f"unsupported content type '{media}'"
        encoded = self._json.encode(table)
        if isinstance(encoded, tuple):
            return encoded
        self._now.out_headers["Content-Type"] = media
        self._now.out_body = str(encoded).encode("latin-1")
        return True

    def _set_path(self, path: str) -> None:
        if not path.startswith("/"):
            raise ValueError("path must start with /")
        self._now.out_path = quote(real_text(path), safe="/%:@!$&'()*+,;=~-._")

    def _set_upstream(self, host: str) -> LuaValue:
        if host not in self._now.values.get("upstreams", ()):
            return None, f"could not find an Upstream named '{host}'"
        self._now.target_host = str(host)
        return True

    def _set_target(self, host: str, port: int) -> None:
        if int(port) != port:
            raise ValueError("port must be an integer")
        self._now.target_host, self._now.target_port = str(host), int(port)
        # Also a name that is an upstream's would be looked up as one, as in Kong.
        self._now.values["target_is_ip"] = is_ip(str(host))

    def _set_retries(self, retries: int) -> None:
        self._now.retries = int(retries)

    def _set_timeouts(self, connect: int, write: int, read: int) -> None:
        self._now.timeouts_ms = (int(connect), int(write), int(read))

    def _per_request(
        self, members: dict[str, LuaValue], get: Callable[..., LuaValue], set_: Callable[..., LuaValue]
    ) -> LuaValue:
        return self._lua.execute(PER_REQUEST)(self._lua.table_from(members), get, set_)

    def _context(self, name: str) -> LuaValue:
        if name not in ("shared", "plugin"):
            raise ValueError(f"kong.ctx.{name} is not in the stand-in for Kong")
        return self._kept(f"kong.ctx.{name}")

    def _kept(self, name: str) -> LuaValue:
        """A Lua table that lives as long as the request."""
        kept = self._now.values.setdefault("lua", {})
        if name not in kept:
            kept[name] = self._lua.table()
        return kept[name]

    def _read_only(self, name: str, _value: LuaValue) -> None:
        raise ValueError(f"cannot set {name}")

    def _log(self) -> LuaValue:
        def at(level: int) -> Callable[..., None]:
            return lambda *parts: LOG.log(level, "%s", "".join(real_text(str(part)) for part in parts))

        members: dict[str, LuaValue] = {name: at(level) for name, level in LEVELS.items()}
        members["set_serialize_value"] = lambda name, value, *_: self._now.values.setdefault(
            "log", {}
        ).__setitem__(name, value)
        table = self._table("kong.log", members)
        call = self._lua.eval(
            "function(t, f) getmetatable(t).__call = function(_, ...) f(...) end return t end"
        )
        return call(table, at(LEVELS["notice"]))

    # --- ngx ---

    def _ngx(self) -> LuaValue:
        members = {
            "var": self._per_request({}, self._variable, self._read_only),
            "null": self._json.null,
            "time": lambda: int(time.time()),
            "now": lambda: round(time.time(), 3),
            "log": lambda _level, *parts: LOG.log(LEVELS["notice"], "%s", "".join(map(str, parts))),
            "encode_base64": lambda text: base64.b64encode(text.encode("latin-1")).decode(),
            "decode_base64": lambda text: base64.b64decode(text).decode("latin-1"),
            "escape_uri": lambda text: quote(text.encode("latin-1"), safe="-._~"),
            "unescape_uri": lambda text: unquote(text, encoding="latin-1"),
            "get_phase": lambda: self._now.phase,
            **{name: number for number, name in enumerate(
                ["STDERR", "EMERG", "ALERT", "CRIT", "ERR", "WARN", "NOTICE", "INFO", "DEBUG"]
            )},
        }  # fmt: skip
        return self._per_request(members, self._ngx_member, self._read_only)

    def _ngx_member(self, name: str) -> LuaValue:
        if name == "status":
            return self._now.status
        if name == "ctx":
            context = self._kept("ngx.ctx")
            context["balancer_data"] = self._balancer_data()
            return context
        raise ValueError(f"ngx.{name} is not in the stand-in for Kong")

    def _balancer_data(self) -> LuaValue:
        now = self._now
        tries = [
            self._lua.table_from(
                {"ip": t.ip, "port": t.port, "state": t.state, "code": t.code,
                 "balancer_latency": t.balancer_latency_ms}
            )
            for t in now.tries
        ]  # fmt: skip
        last = now.tries[-1] if now.tries else None
        return self._lua.table_from(
            {
                "host": now.target_host,
                "ip": last.ip if last else None,
                "port": last.port if last else None,
                "tries": self._lua.table_from(tries),
                "try_count": len(tries),
                "retries": now.retries,
            }
        )

    def _variable(self, name: str) -> LuaValue:
        now = self._now
        bare_host = now.host.partition(":")[0].lower()
        known: dict[str, Callable[[], LuaValue]] = {
            "upstream_addr": lambda: now.upstream_addr or None,
            "upstream_status": lambda: ", ".join(str(t.status or t.code) for t in now.tries) or None,
            "remote_addr": lambda: now.client_ip,
            "realip_remote_addr": lambda: now.remote_addr,
            "request_method": lambda: now.method,
            "request_uri": lambda: now.path + (f"?{now.query}" if now.query else ""),
            "uri": lambda: bytes_text(unquote(now.path)),
            "args": lambda: now.query or None,
            "host": lambda: bare_host,
            "scheme": lambda: "http",
            "status": lambda: str(now.status),
            "kong_request_id": lambda: now.id,
        }
        if name in known:
            return known[name]()
        if name.startswith("http_"):
            return self._get(now.out_headers, name[5:].replace("_", "-"))
        if name.startswith("upstream_http_"):
            return self._get(now.answer_headers, name[14:].replace("_", "-"))
        raise ValueError(f"ngx.var.{name} is not in the stand-in for Kong")

    def _cjson(self) -> dict[str, LuaValue]:
        return {
            "decode": self._json.decode,
            "encode": self._json.encode,
            "null": self._json.null,
            "empty_array": self._json.empty_array,
            "array_mt": self._json.array_mt,
            "empty_array_mt": self._json.array_mt,
        }
