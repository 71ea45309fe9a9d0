"""The node's half of the engine, on a folder of this machine instead of a node (fixture `own_node`)."""

import base64
import hashlib
import io
import json
import os
import socket
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aicluster_node import delivery, inspection

ME = {"uid": os.getuid(), "gid": os.getgid()}
DELIVERY: dict[str, Any] = {
    "remove": [], "reactions": [], "validations": {}, "compose_check": False, "checks": {}, "others": [],
    "partial": False,
}  # fmt: skip
ENGINE = {"files": ["/etc/docker/daemon.json"], "packages": ["docker-ce"], "unit": "docker", "programs": []}
QUESTION: dict[str, Any] = {
    "verb": "inspect", "files": [], "packages": [], "units": [], "containers": {}, "container_profiles": {},
    "profile": None, "probes": {}, "images": {}, "engine": ENGINE, "provisioned_now": None, "done": None,
    "with_text": True,
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


HEADERS = "Api-Version: 1.41\r\nServer: Docker/20.10.24+dfsg1 (linux)\r\n"


@contextmanager
def an_engine(path: Path, answers: Mapping[str, Any]) -> Iterator[list[str]]:
    """An engine on a socket's path: request path -> (status, JSON); anything else is not found.

    Yields the requests it was sent.
    """
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()
    asked: list[str] = []

    def serve() -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                request = connection.recv(4096).decode()
                if not request:
                    return
                asked.append(request)
                status, body = answers.get(request.split()[1], (404, {"message": "no such thing"}))
                connection.sendall(f"HTTP/1.0 {status} x\r\n{HEADERS}\r\n{json.dumps(body)}".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(str(path))
        thread.join(timeout=5)
        server.close()
