"""One request on its way through the gateway: what plugins and Lua read and change."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from multidict import CIMultiDict

if TYPE_CHECKING:
    from .balancer import Address
    from .config import Consumer, Credential, Plugin, Route, Service

# What the client is told when nothing better is known.
MESSAGES = {
    400: "Bad request",
    404: "Not found",
    405: "Method not allowed",
    408: "Request timeout",
    411: "Length required",
    412: "Precondition failed",
    413: "Payload too large",
    414: "URI too long",
    417: "Expectation failed",
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

    ip: str
    port: int
    address: Address | None
    state: str | None = None
    code: int | None = None
    status: int | None = None
    balancer_latency_ms: int = 0
    started: float = field(default_factory=time.monotonic)
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
    host: str
    remote_addr: str
    client_ip: str
    started: float = field(default_factory=time.monotonic)
    id: str = field(default_factory=lambda: uuid4().hex)
    version: str = "1.1"
    # Empty until somebody needs it; see `receive`.
    body: bytes = b""

    route: Route | None = None
    service: Service | None = None
    consumer: Consumer | None = None
    credential: Credential | None = None
    plugins: list[Plugin] = field(default_factory=list)
    phase: str = "rewrite"

    # What is sent on; plugins change these, never what came in.
    out_method: str = ""
    out_path: str = ""
    out_query: str = ""
    out_headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    out_body: bytes = b""
    target_host: str = ""
    target_port: int = 80
    retries: int = 5
    timeouts_ms: tuple[int, int, int] = (60000, 60000, 60000)
    tries: list[Try] = field(default_factory=list)

    # The answer. `source`: "service" (an upstream's), "exit" (a plugin's), "error" (Kong's own).
    status: int = 0
    source: str = "error"
    answer_headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    answer_body: bytes = b""
    proxied: bool = False
    bytes_sent: int = 0
    first_byte: float = 0.0
    values: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Send on what came in, until somebody changes it."""
        self.out_method, self.out_query = self.method, self.query
        self.out_headers = CIMultiDict(self.headers)

    def receive(self, body: bytes) -> None:
        """Take the body, and send it on until somebody changes it."""
        self.body = self.out_body = body

    @property
    def upstream_addr(self) -> str:
        """Every address that was tried, as nginx's variable of that name."""
        return ", ".join(f"{one.ip}:{one.port}" for one in self.tries)

    def answer(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, source: str = "exit"
    ) -> None:
        """Set the answer."""
        self.status, self.answer_body, self.source = status, body, source
        self.answer_headers.update(headers or {})

    def fail(
        self,
        status: int,
        message: str | None = None,
        headers: dict[str, str] | None = None,
        source: str = "exit",
    ) -> None:
        """Set an answer in Kong's error format."""
        text = message or MESSAGES.get(status, f"The upstream server responded with {status}")
        body = f'{{\n  "message":{json.dumps(text)},\n  "request_id":"{self.id}"\n}}'
        self.answer(status, body.encode(), {"Content-Type": JSON_TYPE} | (headers or {}), source)

    def exit(self, status: int, message: str | None = None, headers: dict[str, str] | None = None) -> None:
        """Answer with an error and end the phase."""
        self.fail(status, message, headers)
        raise ExitError
