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
Write = Callable[[asyncio.StreamWriter], Awaitable[None]]


def chat(*targets: tuple[str, int], checks: Any = None, **service: Any) -> Config:
    """A configuration with one route `/chat` to `targets`, given as (address, weight)."""
    route = {
        "name": "chat",
        "paths": ["/chat"],
        "methods": ["GET", "POST", "PUT", "PATCH"],
        "response_buffering": False,
        "plugins": [],
    }
    pool = {
        "name": "pool",
        "healthchecks": checks or {},
        "targets": [{"target": address, "weight": weight} for address, weight in targets],
    }
    timeouts = {"connect_timeout": 5000, "read_timeout": 5000}
    one = {"name": "chat", "host": "pool", "path": "/", "routes": [route]} | timeouts | service
    tree = {"_format_version": "3.0", "upstreams": [pool], "services": [one]}
    return parse(yaml.safe_dump(tree), PLUGINS)


@dataclass
class Node:
    """A node behind the gateway; `seen` is how many requests reached it."""

    address: str
    seen: int = 0
    # Set when a client hung up before the answer was complete.
    abandoned: asyncio.Event = field(default_factory=asyncio.Event)


def says(status: int) -> Write:
    """Answers with this status."""
    return sends(f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode())


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
    """A node that reads requests without a body and does what it is told; it answers 200 unless told."""
    there = Node("")
    write = behaviour or says(200)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            there.seen += 1
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
class Client:
    """Asks the gateway, which listens at `url`."""

    gateway: Gateway
    session: aiohttp.ClientSession
    url: str

    async def ask(self, method: str = "POST") -> aiohttp.ClientResponse:
        """The answer to one request."""
        async with self.session.request(method, self.url + "/chat") as answer:
            await answer.read()
            return answer


@asynccontextmanager
async def kong(config: Config) -> AsyncIterator[Client]:
    """A gateway with this configuration, on free ports."""
    server = Server(settings_of(ENVIRONMENT), config)
    await server.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield Client(server.gateway, session, f"http://127.0.0.1:{server.runners[0].addresses[0][1]}")
    finally:
        await server.end()
