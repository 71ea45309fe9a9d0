"""One request on its way through the gateway: what plugins and Lua read and change."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import uuid4

from multidict import CIMultiDict

if TYPE_CHECKING:
    from aiohttp import web

    from .balancer import Address
    from .config import Credential, Route

# What the client is told when nothing better is known.
MESSAGES = {
    500: "An unexpected error occurred",
    502: "An invalid response was received from the upstream server",
    503: "The upstream server is currently unavailable",
    504: "The upstream server is timing out",
}
JSON_TYPE = "application/json; charset=utf-8"


class ExitError(Exception):
    """A plugin has answered: the phase ends here. The answer is in the exchange."""


class PluginError(Exception):
    """A plugin has failed: the client gets a 500."""


@dataclass
class Try:
    """One attempt; `code` is set when it failed."""

    address: Address
    code: int | None = None
    status: int | None = None
    connect_seconds: float = 0.0
    header_seconds: float = 0.0
    seconds: float = 0.0


@dataclass
class Exchange:
    """A request, where it goes, and its answer. Times are monotonic seconds."""

    method: str
    path: str
    query: str
    headers: CIMultiDict[str]
    client_ip: str
    # Where its body comes from.
    request: web.BaseRequest | None = None
    started: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: uuid4().hex)
    # Empty until somebody needs it.
    body: bytes = b""

    route: Route | None = None
    credential: Credential | None = None
    correlation_id: str = ""
    # Its service's own upstream and times, where Lua says nothing.
    upstream: str = ""
    timeouts: tuple[int, int, int] | None = None
    # For Lua: the phase, `kong.ctx.shared`, and what it adds to the record of http-log.
    phase: str = ""
    context: Any = None
    serialized: list[tuple[str, Any]] = field(default_factory=list)

    # What is sent on; plugins change these, never what came in.
    out_method: str = ""
    out_path: str = ""
    out_query: str = ""
    out_headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    out_body: bytes = b""
    tries: list[Try] = field(default_factory=list)

    # The answer. `source`: "service" (an upstream's), "exit" (a plugin's), "error" (Kong's own).
    status: int = 0
    source: str = "error"
    answer_headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    answer_body: bytes = b""
    # For Lua: the part of the answer that passes, and whether it is the last.
    chunk: bytes = b""
    last: bool = True
    bytes_sent: int = 0

    def __post_init__(self) -> None:
        """Send on what came in, until somebody changes it."""
        self.out_method, self.out_query = self.method, self.query
        self.out_headers = CIMultiDict(self.headers)

    async def read_body(self) -> None:
        """Read the body, once and as late as nginx: a client that is refused is not waited for."""
        if self.request and not self.request.content.at_eof():
            self.body = self.out_body = await self.request.content.read()

    @property
    def upstream_addr(self) -> str:
        """Every address that was tried, as nginx's variable of that name."""
        return ", ".join(one.address.target.name for one in self.tries)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Set the answer, a plugin's."""
        self.status, self.answer_body, self.source = status, body, "exit"
        self.answer_headers.update(headers)

    def fail(self, status: int, message: str = "", headers: dict[str, str] | None = None) -> None:
        """Set an answer in Kong's error format; without a message it is an error of Kong's own."""
        text = json.dumps(message or MESSAGES[status])
        body = f'{{\n  "message":{text},\n  "request_id":"{self.id}"\n}}'
        self.answer(status, body.encode(), {"Content-Type": JSON_TYPE} | (headers or {}))
        self.source = "exit" if message else "error"

    def exit(self, status: int, message: str, headers: dict[str, str] | None = None) -> NoReturn:
        """Answer with an error and end the phase."""
        self.fail(status, message, headers)
        raise ExitError
