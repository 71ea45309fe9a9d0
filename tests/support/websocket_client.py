"""A small WebSocket client for tests (RFC 6455): whole messages, any status of a refusal."""

import base64
import hashlib
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FINAL = MASKED = 0x80
SHORT, TWO_BYTES, EIGHT_BYTES = 125, 126, 127
SWITCHING = 101
# The RFC's own, the same in every handshake.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class RefusedError(Exception):
    """The server answered with something else than a WebSocket."""

    def __init__(self, status: int, head: str) -> None:
        """`head` is what it answered."""
        super().__init__(head)
        self.status = status


class WebSocket:
    """An open connection; every wait is limited by the socket's timeout (TimeoutError)."""

    def __init__(self, connection: socket.socket, headers: dict[str, str]) -> None:
        """`headers` (lower case) are those of the server's answer."""
        self._connection, self.headers = connection, headers
        self._stream = connection.makefile("rb")

    def send(self, message: str | bytes) -> None:
        """Send one message."""
        data = message.encode() if isinstance(message, str) else message
        self._send(TEXT if isinstance(message, str) else BINARY, data)

    def receive(self) -> str | bytes | None:
        """Return the next message; None when the server has said good-bye. Raises EOFError if it hung up."""
        kind, data = 0, b""
        while True:
            final, code, piece = self._frame()
            if code == CLOSE:
                self._send(CLOSE, piece[:2])
                return None
            if code == PING:
                self._send(PONG, piece)
            elif code != PONG:
                kind, data = kind or code, data + piece
                if final:
                    return data.decode() if kind == TEXT else data

    def close(self) -> None:
        """Say good-bye."""
        self._send(CLOSE, struct.pack(">H", 1000))

    def _send(self, code: int, data: bytes) -> None:
        if len(data) <= SHORT:
            size = bytes([MASKED | len(data)])
        elif len(data) < 1 << 16:
            size = bytes([MASKED | TWO_BYTES]) + struct.pack(">H", len(data))
        else:
            size = bytes([MASKED | EIGHT_BYTES]) + struct.pack(">Q", len(data))
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._connection.sendall(bytes([FINAL | code]) + size + mask + masked)

    def _frame(self) -> tuple[bool, int, bytes]:
        first, size = self._exactly(2)
        if size == TWO_BYTES:
            [size] = struct.unpack(">H", self._exactly(2))
        elif size == EIGHT_BYTES:
            [size] = struct.unpack(">Q", self._exactly(8))
        return bool(first & FINAL), first & 0x0F, self._exactly(size)

    def _exactly(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise EOFError("the server hung up")
        return data


def handshake(url: str, key: str, headers: dict[str, str]) -> bytes:
    """Return the request that asks for a WebSocket."""
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines: dict[str, Any] = {
        "Host": parts.netloc,
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": 13,
        "Sec-WebSocket-Key": key,
        **headers,
    }
    text = "\r\n".join([f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in lines.items())])
    return f"{text}\r\n\r\n".encode()


@contextmanager
def connect(url: str, key: str | None = None, timeout_s: float = 30) -> Iterator[WebSocket]:
    """Open `url` (http://...) as a WebSocket, with an API key; raises RefusedError."""
    parts = urlsplit(url)
    challenge = base64.b64encode(os.urandom(16)).decode()
    answer = base64.b64encode(hashlib.sha1((challenge + GUID).encode()).digest()).decode()
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout_s) as connection:
        connection.sendall(handshake(url, challenge, {"apikey": key} if key else {}))
        opened = WebSocket(connection, {})
        first, *lines = iter(lambda: opened._stream.readline().decode().rstrip("\r\n"), "")
        status = int(first.split(" ")[1])
        opened.headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
        if status != SWITCHING:
            raise RefusedError(status, "\n".join([first, *lines]))
        assert opened.headers["sec-websocket-accept"] == answer, "an answer to somebody else's question"
        yield opened
