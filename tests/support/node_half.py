"""The node's half of the engine, on a folder of this machine instead of a node (fixture `own_node`)."""

import base64
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

from aicluster_node import delivery, inspection

ME = {"uid": os.getuid(), "gid": os.getgid()}
DELIVERY: dict[str, Any] = {
    "remove": [], "reactions": [], "validations": {}, "compose_check": False, "checks": {}, "others": [],
    "partial": False,
}  # fmt: skip
ENGINE = {"files": ["/etc/docker/daemon.json"], "packages": ["docker-ce"], "programs": []}
QUESTION: dict[str, Any] = {
    "verb": "inspect", "files": [], "packages": [], "units": [], "containers": {}, "container_profiles": {},
    "profile": None, "probes": {}, "images": {}, "engine": ENGINE, "provisioned_now": None, "done": None,
    "with_text": True, "firewall": False,
}  # fmt: skip


def archive(files: Mapping[Path, bytes]) -> str:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for path, content in files.items():
            member = tarfile.TarInfo(str(path).lstrip("/"))
            member.size, member.mode = len(content), 0o640
            member.uid, member.gid = ME["uid"], ME["gid"]
            tar.addfile(member, io.BytesIO(content))
    return base64.b64encode(buffer.getvalue()).decode()


def delivery_of(files: Mapping[Path, bytes], **changes: Any) -> dict[str, Any]:
    """The request that delivers these files, which are all the node shall have."""
    owned = [{"path": str(path), "fragment": None} for path in files]
    return {**DELIVERY, "verb": "deliver", "files": owned, "archive": archive(files), **changes}


def deliver(files: Mapping[Path, bytes], **changes: Any) -> Any:
    return delivery.deliver(delivery_of(files, **changes))


def deliver_shared(path: Path, fragment: Mapping[str, Any], **changes: Any) -> Any:
    request = delivery_of({path: json.dumps(fragment).encode()}, **changes)
    return delivery.deliver({**request, "files": [{"path": str(path), "fragment": fragment}]})


def want(path: Path | str, content: bytes, **changes: Any) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    wanted = {"path": str(path), "sha256": digest, "accept": [], "mode": "0640", **ME, "text": True}
    return wanted | changes


def want_shared(path: Path, fragment: Mapping[str, Any]) -> dict[str, Any]:
    return want(path, b"", fragment=fragment)


def inspect(*files: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = inspection.inspect({**QUESTION, "files": list(files), **changes})
    return found


def container(service: str, **changes: str) -> dict[str, str]:
    """A container of the project, as `docker.project_containers` returns it."""
    return {"id": f"{service}-1", "owner": service, "digest": "d", "state": "running", "health": ""} | changes


@contextmanager
def an_engine(path: Path, answers: Mapping[str, Any]) -> Iterator[list[str]]:
    """An engine on a socket's path: request path -> (status, JSON); anything else is not found.

    Yields the requests it was sent.
    """
    asked: list[str] = []

    class Engine(BaseHTTPRequestHandler):
        def version_string(self) -> str:
            return "Docker/20.10.24+dfsg1 (linux)"

        def do_GET(self) -> None:
            asked.append(f"{self.requestline}\n{self.headers}")
            status, body = answers.get(self.path, (404, {"message": "no such thing"}))
            self.send_response(status)
            self.send_header("Api-Version", "1.41")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with UnixStreamServer(str(path), Engine) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield asked
        finally:
            server.shutdown()
