"""One HTTP/1.1 request to one address. It says whether it may be repeated elsewhere."""

import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from yarl import URL

from .exchange import Try

SWITCHING, TIMED_OUT = 101, 504
# What the client here would say of itself.
OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class UpstreamError(Exception):
    """A failed try. `code`: what the client gets at last; `kind`: what it counts as.

    `repeatable`: nginx goes on to the next try after an error or a timeout, but not after nonsense.
    """

    def __init__(self, text: str, code: int = 502, *, repeatable: bool = True) -> None:
        super().__init__(text)
        self.code, self.repeatable = code, repeatable
        self.kind = "timeouts" if code == TIMED_OUT else "tcp_failures"


@dataclass(frozen=True)
class Outgoing:
    """A request as it is sent."""

    method: str
    target: str
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    body: bytes = b""


class Connector(aiohttp.TCPConnector):
    """Has the kernel ask whether the other end is still there, and notes how long it took to connect."""

    def __init__(self, one: Try) -> None:
        super().__init__(force_close=True)
        self._try = one

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        """Return the one connection of this try."""
        # aiohttp would repeat a GET, which is for the gateway to decide.
        if self._try.connect_seconds:
            raise aiohttp.ClientConnectionError("the connection broke")
        began = time.monotonic()
        connection = await super().connect(req, traces, timeout)
        self._try.connect_seconds = time.monotonic() - began
        if connection.transport is not None:
            peer = connection.transport.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        return connection


@contextmanager
def failing() -> Iterator[None]:
    """Do something with an address. Raises UpstreamError for whatever goes wrong."""
    try:
        yield
    except TimeoutError:
        raise UpstreamError("upstream timed out", TIMED_OUT) from None
    except aiohttp.ClientResponseError as problem:
        raise UpstreamError(f"upstream sent no valid HTTP: {problem}", repeatable=False) from None
    except (aiohttp.ClientError, OSError) as problem:
        raise UpstreamError(f"upstream failed: {problem!r}") from None


@asynccontextmanager
async def send(
    one: Try, request: Outgoing, limits: aiohttp.ClientTimeout
) -> AsyncIterator[aiohttp.ClientResponse]:
    """Send a request on a connection of its own, which is closed at the end. Raises UpstreamError."""
    began = time.monotonic()
    url = URL(f"http://{one.address.target.name}{request.target}", encoded=True)
    async with aiohttp.ClientSession(
        connector=Connector(one), timeout=limits, auto_decompress=False, skip_auto_headers=OWN_HEADERS
    ) as session:
        with failing():
            answer = await session.request(
                request.method, url, headers=request.headers, data=request.body or None, allow_redirects=False
            )
        one.status, one.header_seconds = answer.status, time.monotonic() - began
        with closing(answer):
            yield answer


async def body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield a body as it arrives. Raises UpstreamError if it ends early."""
    while True:
        with failing():
            chunk = await answer.content.readany()
        if not chunk:
            return
        yield chunk
