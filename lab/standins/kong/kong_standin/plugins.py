"""The plugins this project uses: their order, configuration precedence and behaviour."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from .config import FUNCTION_PLUGINS, Config, Consumer, Plugin
from .exchange import Exchange
from .http_log import HttpLog
from .lua_functions import Functions
from .metrics import Metrics
from .rate_limiting import RateLimits

LOG = logging.getLogger("kong.plugins")
# Higher runs first.
PRIORITY = {
    "pre-function": 1000000,
    "correlation-id": 100001,
    "key-auth": 1250,
    "request-size-limiting": 951,
    "rate-limiting": 910,
    "request-transformer": 801,
    "prometheus": 13,
    "http-log": 12,
    "post-function": -1000,
}
ORDER = sorted(PRIORITY, key=lambda name: -PRIORITY[name])
UNITS = {"bytes": 1, "kilobytes": 2**10, "megabytes": 2**20}
# Which scopes a configuration must name to count, the most special first.
PRECEDENCE = (
    ("consumer", "route", "service"), ("consumer", "route"), ("consumer", "service"), ("route", "service"),
    ("consumer",), ("route",), ("service",), (),
)  # fmt: skip


class Lookup:
    """Finds the configuration of a plugin that counts for a request."""

    def __init__(self, plugins: Iterable[Plugin]) -> None:
        """Index the plugins by name and scope."""
        self._by_scope = {(p.name, p.service, p.route, p.consumer): p for p in plugins}
        self._names = {plugin.name for plugin in plugins}

    def find(self, name: str, service: str | None, route: str | None, consumer: str | None) -> Plugin | None:
        """Return the most special configuration, or None."""
        if name not in self._names:
            return None
        scope = {"service": service, "route": route, "consumer": consumer}
        for kinds in PRECEDENCE:
            if any(scope[kind] is None for kind in kinds):
                continue
            of_service, of_route, of_consumer = (
                scope[k] if k in kinds else None for k in ("service", "route", "consumer")
            )
            if found := self._by_scope.get((name, of_service, of_route, of_consumer)):
                return found
        return None


@dataclass
class Tools:
    """What plugins need beside the exchange."""

    config: Config
    functions: Functions
    limits: RateLimits
    metrics: Metrics
    http_log: HttpLog
    read_body: Callable[[], Awaitable[None]]


def name_of(consumer: Consumer | None) -> str | None:
    """Return the name plugins are scoped by."""
    return (consumer.username or consumer.custom_id) if consumer else None


async def rewrite(exchange: Exchange, lookup: Lookup, tools: Tools) -> None:
    """Run global functions before a route is known. Raises ExitError."""
    for name in FUNCTION_PLUGINS:
        plugin = lookup.find(name, None, None, None)
        if plugin and plugin.config["rewrite"]:
            await tools.read_body()
            tools.functions.run(exchange, plugin.config["rewrite"], "rewrite")


async def access(exchange: Exchange, plugin: Plugin, tools: Tools) -> None:
    """Run a plugin's access phase. Raises ExitError if it answers, PluginError if it fails."""
    if wants_body(exchange, plugin):
        await tools.read_body()
    if plugin.name in FUNCTION_PLUGINS:
        tools.functions.run(exchange, plugin.config["access"], "access")
    elif plugin.name == "rate-limiting":
        await tools.limits.access(exchange, plugin)
    elif plugin.name in ACCESS:
        ACCESS[plugin.name](exchange, plugin.config, tools)


def wants_body(exchange: Exchange, plugin: Plugin) -> bool:
    """Whether a plugin's access phase may look at the body; until one does, nobody waits for it."""
    if plugin.name in FUNCTION_PLUGINS:
        return bool(plugin.config["access"])
    sized = exchange.out_headers.get("Content-Length", "").isdigit()
    return plugin.name == "request-size-limiting" and not sized


def header_filter(exchange: Exchange, plugin: Plugin, tools: Tools) -> None:
    """Run a plugin's header_filter phase."""
    if plugin.name in FUNCTION_PLUGINS:
        tools.functions.run(exchange, plugin.config["header_filter"], "header_filter")
    elif plugin.name == "correlation-id" and plugin.config["echo_downstream"]:
        header = plugin.config["header_name"]
        given = exchange.values.get("correlation_id") or exchange.headers.get(header)
        exchange.answer_headers[header] = given or str(uuid4())


def log(exchange: Exchange, plugin: Plugin, tools: Tools) -> None:
    """Run a plugin's log phase."""
    if plugin.name in FUNCTION_PLUGINS:
        tools.functions.run(exchange, plugin.config["log"], "log")
    elif plugin.name == "prometheus":
        tools.metrics.count(exchange, plugin.config, name_of(exchange.consumer) or "")
    elif plugin.name == "http-log":
        tools.http_log.put(exchange, plugin)


_UUID, _COUNTER = str(uuid4()), itertools.count(1)


def correlation_id(exchange: Exchange, config: dict[str, Any], _tools: Tools) -> None:
    """Give the request an id unless it has one."""
    given = exchange.out_headers.get(config["header_name"])
    if not given:
        given = str(uuid4()) if config["generator"] == "uuid" else f"{_UUID}#{next(_COUNTER)}"
        exchange.out_headers[config["header_name"]] = given
    exchange.values["correlation_id"] = given


def key_auth(exchange: Exchange, config: dict[str, Any], tools: Tools) -> None:
    """Ask for a known key; the value of a header or argument is compared whole."""
    if exchange.method == "OPTIONS" and not config["run_on_preflight"]:
        return
    realm = f'Key realm="{config["realm"]}"' if config["realm"] else "Key"
    challenge = {"WWW-Authenticate": realm}
    key = found_key(exchange, config, challenge)
    credential = tools.config.credentials.get(key) if key else None
    if credential is None and config["anonymous"]:
        exchange.consumer = tools.config.consumers.get(config["anonymous"])
        exchange.out_headers["X-Anonymous-Consumer"] = "true"
    elif not key:
        exchange.exit(401, "No API key found in request", challenge)
    elif credential is None:
        exchange.exit(401, "Unauthorized", challenge)
    else:
        exchange.consumer, exchange.credential = credential.consumer, credential
        exchange.out_headers.popall("X-Anonymous-Consumer", None)
        exchange.out_headers["X-Credential-Identifier"] = credential.id
    tell_consumer(exchange)


def tell_consumer(exchange: Exchange) -> None:
    """Name the consumer to the service; what a client claimed is removed."""
    for header, field in (("ID", "id"), ("Custom-ID", "custom_id"), ("Username", "username")):
        exchange.out_headers.popall(f"X-Consumer-{header}", None)
        if value := getattr(exchange.consumer, field, None):
            exchange.out_headers[f"X-Consumer-{header}"] = value


def found_key(exchange: Exchange, config: dict[str, Any], challenge: dict[str, str]) -> str | None:
    """Return the first key found, hiding it from the service if so configured. Raises ExitError."""
    arguments = parse_qsl(exchange.out_query, keep_blank_values=True)
    for name in config["key_names"]:
        values = exchange.out_headers.getall(name, []) if config["key_in_header"] else []
        if not values and config["key_in_query"]:
            values = [value for key, value in arguments if key == name]
        if len(values) > 1:
            exchange.exit(401, "Duplicate API key found", challenge)
        if values:
            if config["hide_credentials"]:
                exchange.out_headers.popall(name, None)
                if any(key == name for key, _ in arguments):
                    exchange.out_query = urlencode([(k, v) for k, v in arguments if k != name])
            return values[0]
    return None


def request_size_limiting(exchange: Exchange, config: dict[str, Any], _tools: Tools) -> None:
    """Refuse big bodies, by Content-Length if there is one."""
    length = exchange.out_headers.get("Content-Length", "")
    if not length.isdigit():
        chunked = exchange.out_headers.get("Transfer-Encoding") == "chunked"
        if config["require_content_length"] and not chunked:
            exchange.exit(411, "A valid Content-Length header is required")
        length = str(len(exchange.out_body))
    if int(length) > config["allowed_payload_size"] * UNITS[config["size_unit"]]:
        expects = exchange.headers.get("Expect", "").strip().lower() == "100-continue"
        exchange.exit(417 if expects else 413, "Request size limit exceeded")


def request_transformer(exchange: Exchange, config: dict[str, Any], _tools: Tools) -> None:
    """Change method, path, headers and arguments; bodies are left alone in this stand-in."""
    if config["http_method"]:
        exchange.out_method = config["http_method"]
    if config["replace"]["uri"]:
        exchange.out_path = config["replace"]["uri"]
    headers = exchange.out_headers
    for name in config["remove"]["headers"]:
        headers.popall(name, None)
    for old, new in pairs(config["rename"]["headers"]):
        if old in headers:
            headers[new] = headers.popall(old)[0]
    for name, value in pairs(config["replace"]["headers"]):
        if name in headers:
            headers[name] = value
    for name, value in pairs(config["add"]["headers"]):
        headers.setdefault(name, value)
    for name, value in pairs(config["append"]["headers"]):
        headers.add(name, value)
    if any(config[change]["querystring"] for change in ("remove", "rename", "replace", "add", "append")):
        exchange.out_query = changed_query(exchange.out_query, config)


def changed_query(query: str, config: dict[str, Any]) -> str:
    """Return a query string with all changes made, in Kong's order."""
    arguments = parse_qsl(query, keep_blank_values=True)
    removed = set(config["remove"]["querystring"])
    renamed, replaced = (dict(pairs(config[c]["querystring"])) for c in ("rename", "replace"))
    changed = [(renamed.get(k, k), v) for k, v in arguments if k not in removed]
    changed = [(k, replaced.get(k, v)) for k, v in changed]
    present = {key for key, _ in changed}
    changed += [(k, v) for k, v in pairs(config["add"]["querystring"]) if k not in present]
    return urlencode(changed + list(pairs(config["append"]["querystring"])))


def pairs(entries: list[str]) -> Iterable[tuple[str, str]]:
    """Yield name and value of `name:value`."""
    for entry in entries:
        name, _, value = entry.partition(":")
        yield name, value


ACCESS: dict[str, Callable[[Exchange, dict[str, Any], Tools], None]] = {
    "correlation-id": correlation_id,
    "key-auth": key_auth,
    "request-size-limiting": request_size_limiting,
    "request-transformer": request_transformer,
}
