"""Requests that break rules get a 4xx in the JSON of the API they ask, and nobody else notices."""

import gzip
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile
from urllib.parse import urlsplit

import http_client
import pytest
from load import QUESTION

CHAT, OLLAMA = "/v1/chat/completions", "/api/chat"
HERS = "Authorization: Bearer {key}"
Raw = bytes
Ask = Callable[[Raw], tuple[int, str, bytes]]


def request(
    path: str = CHAT, body: object = QUESTION, *headers: str, method: str = "POST", key: str = HERS
) -> Raw:
    """A request; the key is filled in later, and the length added unless a header says how long it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway", "Connection: close", key, *headers]
    if not any(header.startswith("Content-Length") for header in headers):
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(line for line in lines if line).encode() + b"\r\n\r\n" + content


def asking(**members: object) -> dict[str, object]:
    return QUESTION | members


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,!!!"}}
HOSTILE: dict[str, tuple[Raw, int]] = {
    "no key": (request(key=""), 401),
    "no key, and a body that does not come": (request(CHAT, b"{", "Content-Length: 10000000", key=""), 401),
    "a wrong key": (request(key="apikey: wrong"), 401),
    "no key of Ollama's interface": (request(OLLAMA, key=""), 401),
    "an unknown model": (request(body=asking(model="nope")), 404),
    "a model with a line break and a NUL in its name": (request(body=asking(model="a\r\nX: y\0")), 404),
    "two models, of which the last is unknown": (
        request(body=b'{"model": "chat", "model": "nope", "messages": []}'), 404),
    "a model that is a list": (request(body=asking(model=["chat"])), 400),
    "a model that cannot see": (
        request(OLLAMA, asking(model="phi4:14b", messages=[{"role": "user", "images": ["eA=="]}])), 400),
    "no body": (request(body=b""), 400),
    "no JSON": (request(body=b"hello"), 400),
    "half a million brackets": (request(body=b"[" * 500_000), 400),
    "bytes that are no text, as the model": (request(body=b'{"model": "\xff\xfe", "messages": []}'), 400),
    "a number beyond all": (request(body=b'{"model": "chat", "messages": [], "seed": 1e999}'), 400),
    "messages of another type": (request(body=asking(messages="hello")), 400),
    "an image that is none": (
        request(body=asking(model="gemma3:12b", messages=[{"role": "user", "content": [IMAGE]}])), 400),
    "a packed body": (request(CHAT, gzip.compress(b"{}"), "Content-Encoding: gzip"), 400),
    "a body that is announced as too large": (request(CHAT, b"", "Content-Length: 999999999"), 413),
    "2,000 headers": (request(CHAT, QUESTION, *(f"X{number}: a" for number in range(2000))), 400),
    "a path of 9,000 letters": (request("/v1/models/" + "a" * 9000, b"", method="GET"), 414),
    "a path out of the tree": (request("/v1/%2e%2e/%2e%2e/status", b"", method="GET"), 400),
    "an unknown path": (request("/api/nothing", b"", method="GET"), 404),
    "a method for debugging": (request("/v1/models", b"", method="TRACE"), 405),
    "no HTTP": (bytes(range(256)), 400),
    "TLS where there is none": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"a" * 100, 400),
}  # fmt: skip


@pytest.fixture(scope="module")
def ask(gateway_url, api_key) -> Ask:
    """What is sent as it is -> status, type and body of the answer."""
    address = urlsplit(gateway_url)

    def send(raw: Raw) -> tuple[int, str, bytes]:
        with socket.create_connection((address.hostname, address.port), timeout=20) as client:
            try:
                client.sendall(raw.replace(b"{key}", api_key.encode()))
                answer = b"".join(takewhile(bool, iter(lambda: client.recv(65536), None)))
            except ConnectionError:
                # The gateway does not read on; what it said before has arrived.
                answer = client.recv(65536)
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        types = [line.partition(": ")[2] for line in lines if line.lower().startswith("content-type")]
        return int(status.split()[1]), "".join(types), body

    return send


@pytest.fixture(scope="module")
def answers(ask, gateway_url, api_key) -> tuple[dict[str, tuple[int, str, bytes]], list[int]]:
    """What each was answered, and the status of each question that somebody asked meanwhile."""
    with ThreadPoolExecutor(2) as pool:
        said = pool.submit(lambda: {name: ask(raw) for name, (raw, _) in HOSTILE.items()})
        others = []
        while not said.done():
            others.append(http_client.post(f"{gateway_url}{OLLAMA}", QUESTION, api_key).status)
        return said.result(), others


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_in_json(answers, name):
    raw, expected = HOSTILE[name]
    status, kind, body = answers[0][name]
    assert (status, kind.partition(";")[0]) == (expected, "application/json"), body[:300]
    error = json.loads(body[body.index(b"{") : body.rindex(b"}") + 1])["error"]
    if b" /v1/" in raw.partition(b"\r\n")[0]:
        assert error["message"] and {"type", "code"} <= set(error)
    else:
        assert error and isinstance(error, str)


def test_nobody_else_notices(answers):
    assert answers[1] and set(answers[1]) == {200}
