"""A service that answers what a test says, and a kit that takes every service of a node for it."""

import http.server
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aicluster_verify import Kit
from listening import Listening

NO_SITE: dict[str, Any] = {"node": "N", "services": {}, "cluster": []}


@dataclass(frozen=True)
class Asked:
    """A request the service got; `body` is parsed JSON, None without one."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Says:
    """An answer: status, JSON (or text as it is), headers; after `delay_s` seconds."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0


@dataclass
class Service:
    """What a path answers: a `Says`, or a function of what was asked."""

    answers: dict[str, Says | Callable[[Asked], Says]]
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def answer(self, asked: Asked) -> Says:
        """Note the request and find its answer; an unknown path is a 404."""
        self.asked.append(asked)
        found = self.answers.get(f"{asked.method} {asked.path}", Says(404))
        return found if isinstance(found, Says) else found(asked)


@contextmanager
def serving(answers: Mapping[str, Says | Callable[[Asked], Says]]) -> Iterator[Service]:
    """Serve on a port of this machine; keys are `METHOD /path`."""
    service = Service(dict(answers))

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            says = service.answer(Asked(self.command, self.path, dict(self.headers), body))
            time.sleep(says.delay_s)
            text = says.body if isinstance(says.body, str) else json.dumps(says.body)
            self.send_response(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:
            self.handle_any()

        def do_POST(self) -> None:
            self.handle_any()

        def log_message(self, *_words: Any) -> None:
            pass

    with Listening(Handler) as server:
        service.url = server.url
        yield service


class FakeKit(Kit):
    """A kit whose services all are one `Service`."""

    def __init__(
        self,
        service: Service,
        site: Mapping[str, Any] = NO_SITE,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        """`site` is what verify.json holds, `secrets` maps `service/name` to text."""
        super().__init__(site, "run-1")
        self._service, self._secrets = service, secrets or {}

    def url(self, _service: str, _port: str, path: str = "/") -> str:
        """The one address."""
        return f"{self._service.url}{path}"

    def secret(self, service: str, name: str) -> str:
        """A secret of the test."""
        return self._secrets[f"{service}/{name}"]
