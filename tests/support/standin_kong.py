"""A stand-in for Kong that listens, and nodes behind it that behave as told, all in one event loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yaml
from standins.kong.kong_standin.config import Config, parse
from standins.kong.kong_standin.proxy import Gateway
from standins.kong.kong_standin.schema import PLUGINS
from standins.kong.kong_standin.server import Server
from standins.kong.kong_standin.settings import FIXED, settings_of

ENVIRONMENT: dict[str, str] = {f"KONG_{name.upper()}": value for name, value in FIXED.items()} | {
    "KONG_ADMIN_LISTEN": "127.0.0.1:0",
    "KONG_DECLARATIVE_CONFIG": "kong.yml",
    "KONG_LOG_LEVEL": "notice",
    "KONG_NGINX_HTTP_LOG_FORMAT": """tries escape=json '{"tried":"$upstream_addr","uri":"$uri"}'""",
    "KONG_PLUGINS": ",".join(PLUGINS),
    "KONG_PREFIX": "prefix",
    "KONG_PROXY_ACCESS_LOG": "/dev/stdout tries",
    "KONG_PROXY_LISTEN": "127.0.0.1:0",
    "KONG_STATUS_LISTEN": "127.0.0.1:0",
    "KONG_TRUSTED_IPS": "192.0.2.0/24",
    "KONG_UNTRUSTED_LUA_SANDBOX_REQUIRES": "cjson.safe",
}
# Who is let in by key-auth.
KEY = {"apikey": "secret"}
KEYS = {"consumers": [{"username": "me", "keyauth_credentials": [{"key": "secret"}]}]}
# What has to be said of a plugin, because the stand-in does nothing else.
SAID: dict[str, dict[str, Any]] = {
    "correlation-id": {"header_name": "X-Request-ID", "generator": "uuid", "echo_downstream": True},
    "key-auth": {"key_names": ["apikey", "authorization"], "key_in_query": False, "hide_credentials": True},
    "prometheus": dict.fromkeys(PLUGINS["prometheus"], True),
}
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


def plugin(name: str, **config: Any) -> dict[str, Any]:
    """A plugin as a declarative file has it."""
    return {"name": name, "config": SAID.get(name, {}) | config}


def config_of(tree: dict[str, Any]) -> Config:
    """The configuration of a tree such as a declarative file holds."""
    return parse(text_of(tree), PLUGINS)


def text_of(tree: dict[str, Any]) -> str:
    """The declarative file of a tree."""
    return str(yaml.safe_dump({"_format_version": "3.0"} | tree))


def chat(*targets: tuple[str, int], plugins: Any = (), checks: Any = None, **service: Any) -> dict[str, Any]:
    """A tree with one route `/chat` to `targets`, given as (address, weight)."""
    route = {
        "name": "chat",
        "paths": ["/chat"],
        "methods": ["GET", "POST", "PUT", "PATCH"],
        "response_buffering": False,
        "plugins": list(plugins),
    }
    pool = {
        "name": "pool",
        "healthchecks": checks or {},
        "targets": [{"target": address, "weight": weight} for address, weight in targets],
    }
    timeouts = {"connect_timeout": 5000, "read_timeout": 5000}
    one = {"name": "chat", "host": "pool", "path": "/", "routes": [route]} | timeouts | service
    return {"upstreams": [pool], "services": [one]}


@dataclass
class Node:
    """A node behind the gateway; `seen` are the requests that reached it, as (first line, body)."""

    address: str
    seen: list[tuple[str, bytes]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    # Set when a client hung up before the answer was complete.
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)


def says(status: int, body: bytes = b"", *headers: str) -> Write:
    """Answers with this, and closes."""

    async def write(writer: asyncio.StreamWriter) -> None:
        head = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}", *headers]
        writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return write


def sends(*chunks: bytes, pause: float = 0.0) -> Write:
    """Answers with raw bytes, chunk by chunk."""

    async def write(writer: asyncio.StreamWriter) -> None:
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


async def hangs_up(writer: asyncio.StreamWriter) -> None:
    """Closes without an answer."""
    writer.close()


async def is_silent(_writer: asyncio.StreamWriter) -> None:
    """Keeps the connection and says nothing."""
    await asyncio.sleep(3600)


@asynccontextmanager
async def node(behaviour: Write | None = None) -> AsyncIterator[Node]:
    """A node that reads whole requests and then does what it is told; it answers 200 unless told."""
    there = Node("")
    write = behaviour or says(200, b"ok")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                (line for line in head.lower().splitlines() if line.startswith("content-length:")), ":0"
            )
            body = await reader.readexactly(int(length.partition(":")[2]))
            there.seen.append((head.splitlines()[0], body))
            there.heads.append(head)
            answering = asyncio.ensure_future(write(writer))
            gone = asyncio.ensure_future(reader.read())
            await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not answering.done():
                there.abandoned.set()
                answering.cancel()
            gone.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            there.abandoned.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    there.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield there
    finally:
        server.close()


def refusing() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def switched_off(stack: ExitStack) -> str:
    """An address that answers no connection attempt: its queue is full, so the kernel drops what comes."""
    listening = stack.enter_context(socket.socket())
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    for _ in range(2):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(listening.getsockname())
    return f"127.0.0.1:{listening.getsockname()[1]}"


@dataclass
class Answer:
    """What a client got."""

    status: int
    headers: Any
    body: bytes


@dataclass
class Client:
    """Asks the gateway; `url` and `status_url` are where it listens."""

    gateway: Gateway
    session: aiohttp.ClientSession
    url: str
    status_url: str

    async def ask(self, method: str = "POST", path: str = "/chat", **what: Any) -> Answer:
        """One request to the proxy port."""
        return await self._ask(method, self.url + path, **what)

    async def status(self, path: str) -> Answer:
        """One request to the status port."""
        return await self._ask("GET", self.status_url + path)

    async def _ask(self, method: str, url: str, **what: Any) -> Answer:
        async with self.session.request(method, url, **what) as answer:
            return Answer(answer.status, answer.headers, await answer.read())


@asynccontextmanager
async def kong(tree: dict[str, Any], **environment: str) -> AsyncIterator[Client]:
    """A gateway with this configuration, on free ports."""
    server = Server(settings_of(ENVIRONMENT | environment), config_of(tree))
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            proxy, _, status = [f"http://127.0.0.1:{runner.addresses[0][1]}" for runner in server.runners]
            yield Client(server.gateway, session, proxy, status)
    finally:
        await server.end()
