"""A connection that has become a WebSocket: bytes pass both ways, unread, as in nginx after a 101."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .upstream import CHUNK_BYTES, Connection

LOG = logging.getLogger("kong.proxy")
WEBSOCKET = "websocket"
Write = Callable[[bytes], Awaitable[None]]


class FromClient:
    """What a client sends once its request is over; aiohttp's server hands it over through these names."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """`transport` rests while nobody takes what came."""
        self.stream = asyncio.StreamReader(CHUNK_BYTES)
        self.stream.set_transport(transport)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes; there are no others left over, and no end in them."""
        self.stream.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """Take the end."""
        self.stream.feed_eof()


async def tunnel(request: web.BaseRequest, node: Connection, idle_s: float) -> int:
    """Pass bytes both ways until one end closes, or neither said anything for `idle_s` seconds.

    Return how many bytes the client was sent. The answer's head must be on its way already; both connections
    are the caller's to close.
    """
    if request.transport is None:
        return 0
    parser: Any = FromClient(request.transport)
    request.protocol.set_parser(parser)
    reader, writer = node
    sent, loop = 0, asyncio.get_running_loop()

    async def to_client(data: bytes) -> None:
        nonlocal sent
        await request.writer.write(data)
        await request.writer.drain()
        sent += len(data)

    async def to_node(data: bytes) -> None:
        writer.write(data)
        await writer.drain()

    async def passing(source: asyncio.StreamReader, write: Write) -> None:
        while data := await source.read(CHUNK_BYTES):
            limit.reschedule(loop.time() + idle_s)
            await write(data)

    try:
        async with asyncio.timeout(idle_s) as limit:
            ways = [
                asyncio.ensure_future(passing(parser.stream, to_node)),
                asyncio.ensure_future(passing(reader, to_client)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                # A connection that breaks is an end like any other.
                await asyncio.gather(*ways, return_exceptions=True)
    except TimeoutError:
        LOG.error("upstream timed out while proxying upgraded connection, request: %s", request.path)
    return sent
