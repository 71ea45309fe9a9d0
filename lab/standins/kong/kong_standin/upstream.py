"""One HTTP/1.1 request to one address. It says whether it may be repeated elsewhere."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

CHUNK_BYTES = 64 * 1024
HEAD_BYTES = 64 * 1024
SWITCHING, TIMED_OUT = 101, 504
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
NO_BODY = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class UpstreamError(Exception):
    """A failed try. `code`: what the client gets at last.

    `repeatable`: nginx goes on to the next try after an error or a timeout, but not after nonsense.
    """

    def __init__(self, text: str, code: int = 502, *, repeatable: bool = True) -> None:
        super().__init__(text)
        self.code, self.repeatable = code, repeatable


@dataclass(frozen=True)
class Timeouts:
    """In seconds: to connect, between writes, between reads."""

    connect: float
    write: float
    read: float


@dataclass(frozen=True)
class Outgoing:
    """A request as it is sent."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def encoded(self) -> bytes:
        """Return head and body."""
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape") + self.body


@dataclass(frozen=True)
class Answer:
    """Status, headers and a body that is read as it comes; the connection is read to just behind the head."""

    status: int
    headers: list[tuple[str, str]]
    connection: Connection
    read_s: float
    connect_s: float

    def header(self, name: str) -> str:
        """Return the first header of that name, or an empty text."""
        return next((value for key, value in self.headers if key.lower() == name), "")

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises UpstreamError if it ends early."""
        if self.status in NO_BODY:
            return
        if "chunked" in self.header("transfer-encoding").lower():
            chunks = self._chunked()
        elif self.header("content-length"):
            chunks = self._exactly(int(self.header("content-length")))
        else:
            chunks = self._to_the_end()
        async for chunk in chunks:
            yield chunk

    async def _exactly(self, length: int) -> AsyncIterator[bytes]:
        left = length
        while left:
            chunk = await read(self.connection[0].read(min(left, CHUNK_BYTES)), self.read_s)
            if not chunk:
                raise UpstreamError("upstream prematurely closed connection")
            left -= len(chunk)
            yield chunk

    async def _chunked(self) -> AsyncIterator[bytes]:
        while True:
            line = await read(self.connection[0].readline(), self.read_s)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                raise UpstreamError("upstream prematurely closed connection") from None
            if size == 0:
                while (await read(self.connection[0].readline(), self.read_s)).strip():
                    pass
                return
            async for piece in self._exactly(size):
                yield piece
            await read(self.connection[0].readline(), self.read_s)

    async def _to_the_end(self) -> AsyncIterator[bytes]:
        while chunk := await read(self.connection[0].read(CHUNK_BYTES), self.read_s):
            yield chunk


@asynccontextmanager
async def limited(seconds: float, doing: str) -> AsyncIterator[None]:
    """Do something with an address for so long at most. Raises UpstreamError for whatever goes wrong."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (OSError, asyncio.IncompleteReadError) as problem:
        # A timeout with a number is the kernel's: nobody answered whether the other end is still there.
        if isinstance(problem, TimeoutError) and not problem.errno:
            raise UpstreamError(f"upstream timed out while {doing}", TIMED_OUT) from None
        raise UpstreamError(f"upstream failed while {doing}: {problem}") from None
    except (ValueError, asyncio.LimitOverrunError) as problem:
        raise UpstreamError(f"upstream sent too long a line: {problem}", repeatable=False) from None


async def read(what: Awaitable[bytes], seconds: float) -> bytes:
    """Return what is read. Raises UpstreamError."""
    async with limited(seconds, "reading"):
        return await what


def parsed_head(head: bytes) -> tuple[int, list[tuple[str, str]]]:
    """Return status and headers. Raises UpstreamError."""
    first, *lines = head.decode("utf-8", "surrogateescape").rstrip("\r\n").split("\r\n")
    parts = first.split(" ", 2)
    if not parts[0].startswith("HTTP/1.") or len(parts) == 1 or not parts[1].isdigit():
        raise UpstreamError(f"upstream sent no valid HTTP/1.0 header: {first[:80]!r}", repeatable=False)
    pairs = (line.partition(":") for line in lines)
    return int(parts[1]), [(name.strip(), value.strip()) for name, _, value in pairs]


@asynccontextmanager
async def send(host: str, port: int, request: Outgoing, timeouts: Timeouts) -> AsyncIterator[Answer]:
    """Send a request on a connection of its own, which is closed at the end. Raises UpstreamError."""
    began = time.monotonic()
    async with limited(timeouts.connect, f"connecting to {host}:{port}"):
        reader, writer = await asyncio.open_connection(host, port, limit=HEAD_BYTES)
    connect_s = time.monotonic() - began
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    try:
        writer.write(request.encoded())
        async with limited(timeouts.write, "sending"):
            await writer.drain()
        status, headers = parsed_head(await read(reader.readuntil(b"\r\n\r\n"), timeouts.read))
        yield Answer(status, headers, (reader, writer), timeouts.read, connect_s)
    finally:
        writer.close()
