"""A small HTTP client for tests: any status is an answer, only a broken connection is an error."""

import base64
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What came back; `seconds` is the time to the last byte."""

    status: int
    headers: Message
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def _request(url: str, body: Any, key: str | None) -> urllib.request.Request:
    request = urllib.request.Request(url)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    if key is not None:
        request.add_header("apikey", key)
    return request


TIMEOUT_S = 60.0
# A proxy of the environment must not stand between a test and a node.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(request: urllib.request.Request, timeout_s: float) -> Answer:
    began = time.monotonic()
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            return Answer(response.status, response.headers, response.read(), time.monotonic() - began)
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers, error.read(), time.monotonic() - began)


def get(url: str, key: str | None = None, login: str | None = None, timeout_s: float = 10) -> Answer:
    """GET, with `login` (user:password) as basic auth; raises OSError without an answer in `timeout_s`."""
    request = _request(url, None, key)
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    return _ask(request, timeout_s)


def delete(url: str, key: str) -> Answer:
    request = _request(url, None, key)
    request.method = "DELETE"
    return _ask(request, TIMEOUT_S)


def post(url: str, body: Any, key: str | None = None, timeout_s: float = TIMEOUT_S) -> Answer:
    """POST JSON; raises OSError when nobody answers within `timeout_s`."""
    return _ask(_request(url, body, key), timeout_s)


def post_stream(url: str, body: Any, key: str) -> list[tuple[float, bytes]]:
    """POST JSON; every line of the streamed answer with the seconds since the request began."""
    began = time.monotonic()
    with _OPENER.open(_request(url, body, key), timeout=TIMEOUT_S) as response:
        return [(time.monotonic() - began, line) for line in response]
