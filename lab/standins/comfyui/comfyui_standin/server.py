"""The HTTP interface: the paths this project uses, each also below /api, with ComfyUI's status codes."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import WSMsgType, web

from . import VERSION
from .graph import KINDS, TEXT, Kind, Number, OneOf, RefusedError, validated
from .jobs import Folders, Jobs
from .png import png

GIB = 2**30
MEMORY, MODEL = 8 * GIB, 5 * GIB
PREVIEW, PREVIEW_PNG = 1, 2
PAGE = "<!doctype html><title>ComfyUI</title><p>This is a stand-in for ComfyUI: it makes up its pictures.</p>"


def inside(folders: Folders, query: Mapping[str, str]) -> Path | int:
    """Return the file a /view asks for, or the status that refuses it."""
    name, kind = query.get("filename", ""), folders.of(query.get("type", "output"))
    if not name or name.startswith("/") or ".." in name or kind is None:
        return 400 if name else 404
    root = kind.resolve()
    folder = (root / query.get("subfolder", "")).resolve()
    if not folder.is_relative_to(root):
        return 403
    path = folder / Path(name).name
    return path if path.is_file() else 404


def described(name: str, kind: Kind, folders: Folders) -> dict[str, Any]:
    """Return a class of nodes as /object_info shows it."""

    def one(takes: Number | OneOf | str) -> list[Any]:
        if isinstance(takes, OneOf):
            return [list(takes.fixed) or folders.files(takes.folder)]
        if isinstance(takes, Number):
            return ["INT" if takes.whole else "FLOAT", {"min": takes.low, "max": takes.high}]
        return [takes, {"multiline": True}] if takes == TEXT else [takes]

    inputs = {"required": {key: one(takes) for key, takes in kind.inputs.items()}}
    return {"input": inputs, "output": list(kind.outputs), "name": name, "output_node": kind.shows}


class Api:
    """One method per path."""

    def __init__(self, jobs: Jobs, device: str, argv: list[str]) -> None:
        """`device` is the kind of device it pretends to compute on: cpu or cuda."""
        self._jobs, self._device, self._argv = jobs, device, argv
        self._sockets: dict[str, web.WebSocketResponse] = {}
        self._sending: set[asyncio.Task[None]] = set()

    def application(self) -> web.Application:
        """Return the application with all paths, and the worker."""
        app = web.Application(client_max_size=100 * 2**20)
        for method, path, handler in (
            ("GET", "/", self.page),
            ("GET", "/ws", self.websocket),
            ("GET", "/system_stats", self.system_stats),
            ("GET", "/prompt", self.queue_length),
            ("POST", "/prompt", self.prompt),
            ("GET", "/queue", self.queue),
            ("POST", "/queue", self.change_queue),
            ("GET", "/history", self.history),
            ("GET", "/history/{prompt_id}", self.history),
            ("POST", "/history", self.change_history),
            ("GET", "/view", self.view),
            ("POST", "/upload/image", self.upload),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/models", self.models),
            ("GET", "/models/{folder}", self.models),
            ("GET", "/object_info", self.object_info),
            ("GET", "/object_info/{kind}", self.object_info),
            ("GET", "/embeddings", self.nothing),
            ("GET", "/extensions", self.nothing),
        ):
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}".rstrip("/"), handler)
        app.cleanup_ctx.append(self._worker)
        return app

    async def _worker(self, _app: web.Application) -> AsyncIterator[None]:
        self._jobs.send = self._send
        task = asyncio.create_task(self._jobs.work())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def _send(self, event: str, data: dict[str, Any], client: str) -> None:
        """Send to one client, or to all with an empty name; who has gone misses it."""
        for name in [client] if client else list(self._sockets):
            socket = self._sockets.get(name)
            if socket is not None:
                self._later(socket, json.dumps({"type": event, "data": data}))
                if event == "progress":
                    self._later(
                        socket, struct.pack(">II", PREVIEW, PREVIEW_PNG) + png(8, 8, data["value"], {})
                    )

    def _later(self, socket: web.WebSocketResponse, message: str | bytes) -> None:
        async def send() -> None:
            with suppress(ConnectionError):
                await (socket.send_str(message) if isinstance(message, str) else socket.send_bytes(message))

        task = asyncio.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def page(self, _request: web.Request) -> web.Response:
        """The page a person opens."""
        return web.Response(text=PAGE, content_type="text/html")

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Events: of the queue to all, of a job to the client that queued it."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[client] = socket
        hello = {"status": self._jobs.queue_info(), "sid": client}
        await socket.send_str(json.dumps({"type": "status", "data": hello}))
        if node := self._jobs.executing(client):
            await socket.send_str(json.dumps({"type": "executing", "data": {"node": node}}))
        async for message in socket:
            if message.type == WSMsgType.ERROR:
                break
        if self._sockets.get(client) is socket:
            del self._sockets[client]
        return socket

    async def system_stats(self, _request: web.Request) -> web.Response:
        """Versions and memory; a loaded model takes its part."""
        free = MEMORY - (MODEL if self._jobs.model_loaded else 0)
        device = {"name": f"{self._device} (stand-in)", "type": self._device, "index": 0}
        sizes = {"vram_total": MEMORY, "vram_free": free, "torch_vram_total": 0, "torch_vram_free": 0}
        system = {
            "os": "posix",
            "ram_total": MEMORY,
            "ram_free": free,
            "comfyui_version": VERSION,
            "python_version": sys.version,
            "pytorch_version": "none",
            "embedded_python": False,
            "argv": self._argv,
        }
        return web.json_response({"system": system, "devices": [{**device, **sizes}]})

    async def queue_length(self, _request: web.Request) -> web.Response:
        """How many jobs are left."""
        return web.json_response(self._jobs.queue_info())

    async def prompt(self, request: web.Request) -> web.Response:
        """Queue a graph, or refuse it."""
        body = await self._body(request)
        if "prompt" not in body:
            return web.json_response({"error": "no prompt", "node_errors": []}, status=400)
        try:
            shown = validated(body["prompt"], self._jobs.folders.files)
        except RefusedError as refused:
            answer = {"error": refused.error, "node_errors": refused.node_errors}
            return web.json_response(answer, status=400)
        name = str(uuid.uuid4())
        number = self._jobs.put(body, name, shown)
        return web.json_response({"prompt_id": name, "number": number, "node_errors": {}})

    async def queue(self, _request: web.Request) -> web.Response:
        """Running and waiting jobs."""
        running = [self._jobs.running.listed()] if self._jobs.running else []
        waiting = [job.listed() for job in self._jobs.waiting]
        return web.json_response({"queue_running": running, "queue_pending": waiting})

    async def change_queue(self, request: web.Request) -> web.Response:
        """`clear`, or `delete` some."""
        body = await self._body(request)
        if body.get("clear"):
            self._jobs.drop(None)
        self._jobs.drop([str(name) for name in body.get("delete", [])])
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        """What became of one job ({} while it is not done), or of all or the newest ones."""
        name, done = request.match_info.get("prompt_id"), self._jobs.history
        if name is not None:
            return web.json_response({name: done[name]} if name in done else {})
        newest = list(done)[-int(request.query.get("max_items", len(done)) or 1) :]
        return web.json_response({key: done[key] for key in newest})

    async def change_history(self, request: web.Request) -> web.Response:
        """`clear`, or `delete` some."""
        body = await self._body(request)
        if body.get("clear"):
            self._jobs.history.clear()
        for name in body.get("delete", []):
            self._jobs.history.pop(str(name), None)
        return web.Response()

    async def view(self, request: web.Request) -> web.StreamResponse:
        """A picture."""
        found = inside(self._jobs.folders, request.query)
        if isinstance(found, int):
            return web.Response(status=found)
        return web.FileResponse(found, headers={"Content-Disposition": f'filename="{found.name}"'})

    async def upload(self, request: web.Request) -> web.Response:
        """Keep an input picture under its own name."""
        image = (await request.post()).get("image")
        if not isinstance(image, web.FileField) or Path(image.filename).name != image.filename:
            return web.Response(status=400)
        target = self._jobs.folders.root / "input" / image.filename
        target.write_bytes(image.file.read())
        return web.json_response({"name": target.name, "subfolder": "", "type": "input"})

    async def interrupt(self, _request: web.Request) -> web.Response:
        """Stop the running job."""
        self._jobs.interrupt()
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """Unload the model."""
        body = await self._body(request)
        if body.get("unload_models") or body.get("free_memory"):
            self._jobs.model_loaded = False
        return web.Response()

    async def models(self, request: web.Request) -> web.Response:
        """Kinds of models, or the files of one kind."""
        kinds, folder = self._jobs.folders.model_kinds(), request.match_info.get("folder")
        if folder is None:
            return web.json_response(kinds)
        if folder not in kinds:
            return web.Response(status=404)
        return web.json_response(self._jobs.folders.files(folder))

    async def object_info(self, request: web.Request) -> web.Response:
        """Classes of nodes, or one of them."""
        wanted = request.match_info.get("kind")
        kinds = {name: kind for name, kind in KINDS.items() if wanted in {None, name}}
        found = {name: described(name, kind, self._jobs.folders) for name, kind in kinds.items()}
        return web.json_response(found)

    async def nothing(self, _request: web.Request) -> web.Response:
        """Lists this stand-in has nothing for."""
        return web.json_response([])

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError as problem:
            raise web.HTTPBadRequest(text=str(problem)) from None
        return body if isinstance(body, dict) else {}
