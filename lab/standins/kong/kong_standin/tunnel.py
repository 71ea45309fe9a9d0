"""A connection that has become a WebSocket: bytes pass both ways, unread, as in nginx after a 101."""

import asyncio
from typing import Any

from aiohttp import ClientResponse, web

WEBSOCKET = "websocket"
CHUNK_BYTES = 64 * 1024


class Received:
    """What comes once the head is over; aiohttp hands it over through these names, as to a parser."""

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


async def tunnel(request: web.BaseRequest, answer: ClientResponse) -> int:
    """Pass bytes both ways until one end closes; return how many the client was sent.

    The answer's head must be on its way already; both connections are the caller's to close.
    """
    protocol = answer.connection.protocol if answer.connection else None
    if request.transport is None or protocol is None or protocol.transport is None:
        return 0
    client, node, to_node = Received(request.transport), Received(protocol.transport), protocol.transport
    parser: Any = client
    request.protocol.set_parser(parser)
    protocol.set_parser(node, node)
    sent = 0

    async def answering() -> None:
        nonlocal sent
        while data := await node.stream.read(CHUNK_BYTES):
            await request.writer.write(data)
            sent += len(data)

    async def asking() -> None:
        while data := await client.stream.read(CHUNK_BYTES):
            to_node.write(data)

    ways = [asyncio.ensure_future(answering()), asyncio.ensure_future(asking())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        # A connection that breaks is an end like any other.
        await asyncio.gather(*ways, return_exceptions=True)
    return sent
