"""An Ollama server whose pulls follow scripts, to see what a client does with each way they break."""

import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

from ansible.module_utils.aicluster_models.names import normalise
from ansible.module_utils.aicluster_models.server import MANIFEST as MANIFEST_TYPE
from listening import Listening

GIGA = 10**9
# What a pull may do besides sending lines: say nothing, or its last line, until the client has had enough.
SILENCE, REPEAT = "silence", "repeat"


def pulling(completed: float, total: float = 2 * GIGA, layer: str = "6e") -> dict[str, Any]:
    sha = "sha256:" + layer * 32
    return {"status": f"pulling {sha[7:19]}", "digest": sha, "total": int(total), "completed": int(completed)}


MANIFEST = {"status": "pulling manifest"}
VERIFYING, SUCCESS = {"status": "verifying sha256 digest"}, {"status": "success"}
WHOLE = [MANIFEST, pulling(0), pulling(GIGA), pulling(2 * GIGA), VERIFYING, SUCCESS]


class FakeOllama:
    """A server, which is a mirror too. A script is a list of lines; it has one per pull, then `WHOLE`."""

    def __init__(self) -> None:
        self.models: dict[str, str] = {}
        self.scripts: list[list[Any]] = []
        # What it offers as a mirror: <repository>/manifests/<tag>.
        self.offers: set[str] = set()
        self.requests: list[tuple[str, str, Any]] = []
        self.hung_up = threading.Event()
        handler = type("Handler", (Handler,), {"fake": self})
        self.server = Listening(handler)
        self.url = self.server.url
        self.mirror = self.url.removeprefix("http://")

    def asked(self, path: str) -> list[Any]:
        return [body for _, asked, body in self.requests if asked == path]

    @property
    def pulls(self) -> list[str]:
        return [body["model"] for body in self.asked("/api/pull")]


class Handler(BaseHTTPRequestHandler):
    fake: FakeOllama

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self.respond
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, status: int, body: Any = None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode() if body else b"")

    def respond(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")
        self.fake.requests.append((self.command, self.path, body))
        name, models = normalise(body.get("model", body.get("source", ""))), self.fake.models
        if self.command == "HEAD":
            # Like Docker's registry: without the type of a manifest it offers another, which a model has not.
            there = self.path.removeprefix("/v2/") in self.fake.offers
            self.answer((200 if there else 404) if self.headers["Accept"] == MANIFEST_TYPE else 400)
        elif self.path == "/api/tags":
            self.answer(200, {"models": [{"name": key, "digest": models[key]} for key in models]})
        elif self.path == "/api/delete":
            self.answer(200 if models.pop(name, None) else 404)
        elif self.path == "/api/copy":
            models[normalise(body["destination"])] = models[name]
            self.answer(200)
        else:
            self.pull(name, self.fake.scripts.pop(0) if self.fake.scripts else WHOLE)

    def pull(self, name: str, script: list[Any]) -> None:
        """Follow a script; one that begins with an error has its status."""
        self.answer(500 if "error" in script[0] else 200)
        try:
            for index, step in enumerate(script):
                while step == SILENCE and self.connection.recv(1):
                    pass
                while step == REPEAT:
                    self.say(script[index - 1])
                if step == SUCCESS:
                    self.fake.models[name] = f"digest of {name.rsplit('/', 1)[-1]}"
                self.say(step)
        except OSError:
            self.fake.hung_up.set()

    def say(self, line: Any) -> None:
        self.wfile.write(json.dumps(line).encode() + b"\n")
