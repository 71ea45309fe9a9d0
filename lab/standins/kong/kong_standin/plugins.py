"""What the plugins do in each phase, and in which order they do it (`schema.PLUGINS`)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from .config import Credential, Plugin
from .exchange import Exchange

if TYPE_CHECKING:
    from .proxy import Generation

CHALLENGE = {"WWW-Authenticate": "Key"}
MEGABYTE = 2**20


async def access(exchange: Exchange, plugin: Plugin, now: Generation) -> None:
    """Run a plugin's access phase. Raises ExitError if it answers, PluginError if it fails."""
    match plugin.name:
        case "pre-function" | "post-function":
            texts = plugin.config.get("access", [])
            if any("get_raw_body" in text for text in texts):
                await exchange.read_body()
            now.functions.run(exchange, texts, "access")
        case "correlation-id":
            correlation_id(exchange, plugin.config["header_name"])
        case "key-auth":
            key_auth(exchange, plugin.config["key_names"], now.config.credentials)
        case "request-size-limiting":
            await request_size_limiting(exchange, plugin.config["allowed_payload_size"] * MEGABYTE)
        case "rate-limiting":
            await now.limits.access(exchange, plugin)


def header_filter(exchange: Exchange, plugin: Plugin, now: Generation) -> None:
    """Run a plugin's header_filter phase."""
    match plugin.name:
        case "pre-function":
            now.functions.run(exchange, plugin.config["header_filter"], "header_filter")
        case "correlation-id":
            exchange.answer_headers[plugin.config["header_name"]] = exchange.correlation_id


def body_filter(exchange: Exchange, plugin: Plugin, now: Generation) -> None:
    """Run a plugin's body_filter phase, for a part of an answer."""
    if plugin.name == "pre-function":
        now.functions.run(exchange, plugin.config["body_filter"], "body_filter")


def log(exchange: Exchange, plugin: Plugin, now: Generation) -> None:
    """Run a plugin's log phase."""
    match plugin.name:
        case "pre-function":
            now.functions.run(exchange, plugin.config.get("log", []), "log")
        case "prometheus":
            now.metrics.count(exchange)
        case "http-log":
            now.http_log.put(exchange, plugin)


def correlation_id(exchange: Exchange, header: str) -> None:
    """Give the request an id unless it has one."""
    exchange.correlation_id = exchange.out_headers.get(header) or str(uuid4())
    exchange.out_headers[header] = exchange.correlation_id


def key_auth(exchange: Exchange, names: list[str], credentials: dict[str, Credential]) -> None:
    """Ask for a known key in a header, whose value is compared whole, and hide it from the service."""
    name = next((name for name in names if name in exchange.out_headers), None)
    if name is None:
        exchange.exit(401, "No API key found in request", CHALLENGE)
    exchange.credential = credentials.get(exchange.out_headers.popall(name)[0])
    if exchange.credential is None:
        exchange.exit(401, "Unauthorized", CHALLENGE)


async def request_size_limiting(exchange: Exchange, limit: int) -> None:
    """Refuse big bodies, by Content-Length if there is one."""
    length = exchange.headers.get("Content-Length", "")
    if not length.isdigit():
        await exchange.read_body()
        length = str(len(exchange.body))
    if int(length) > limit:
        exchange.exit(413, "Request size limit exceeded")
