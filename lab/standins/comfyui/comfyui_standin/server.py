"""The HTTP interface: the paths this project uses, each also below /api, with ComfyUI's status codes."""

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aiohttp import web

from .cli_args import parser
from .jobs import PNG, Jobs, shown_by

PREVIEW, PREVIEW_PNG = 1, 2
PAGE = "<!doctype html><title>ComfyUI</title><p>This is a stand-in for ComfyUI: it makes up its pictures.</p>"


class Api:
    """One method per path."""

    def __init__(self, root: Path, device: str) -> None:
        """`device` is the kind of device it pretends to compute on: cpu or cuda."""
        self._jobs, self._device = Jobs(root, self._send), device
        self._sockets: dict[str, web.WebSocketResponse] = {}

    def application(self) -> web.Application:
        """Return the application with all paths, and the worker."""
        app = web.Application(client_max_size=100 * 2**20)
        for method, path, handler in (
            ("GET", "/", self.page),
            ("GET", "/ws", self.websocket),
            ("GET", "/system_stats", self.system_stats),
            ("POST", "/prompt", self.prompt),
            ("GET", "/queue", self.queue),
            ("POST", "/queue", self.change_queue),
            ("GET", "/history/{prompt_id}", self.history),
            ("POST", "/history", self.change_history),
            ("GET", "/view", self.view),
            ("POST", "/interrupt", self.interrupt),
            ("POST", "/free", self.free),
            ("GET", "/models/checkpoints", self.checkpoints),
        ):
            app.router.add_route(method, path, handler)
            app.router.add_route(method, f"/api{path}".rstrip("/"), handler)
        app.cleanup_ctx.append(self._worker)
        return app

    async def _worker(self, _app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._jobs.work())
        yield
        task.cancel()

    async def _send(self, event: str, data: dict[str, Any], client: str) -> None:
        """Send to one client, or to all with an empty name; who has gone misses it."""
        for name in [client] if client else list(self._sockets):
            with suppress(KeyError, ConnectionError):
                socket = self._sockets[name]
                await socket.send_json({"type": event, "data": data})
                if event == "progress":
                    header = struct.pack(">II", PREVIEW, PREVIEW_PNG)
                    await socket.send_bytes(header + PNG)

    async def page(self, _request: web.Request) -> web.Response:
        """The page a person opens."""
        return web.Response(text=PAGE, content_type="text/html")

    async def websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Events: of the queue to all, of a job to the client that queued it."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        client = request.query.get("clientId") or uuid.uuid4().hex
        self._sockets[client] = socket
        await socket.send_json({"type": "status", "data": {"status": self._jobs.queue_info(), "sid": client}})
        async for _ in socket:
            pass
        if self._sockets.get(client) is socket:
            del self._sockets[client]
        return socket

    async def system_stats(self, _request: web.Request) -> web.Response:
        """The device."""
        return web.json_response({"system": {}, "devices": [{"name": "stand-in", "type": self._device}]})

    async def prompt(self, request: web.Request) -> web.Response:
        """Queue a graph, or refuse it."""
        body = await self._body(request, {"prompt", "client_id"})
        graph = body.get("prompt", {})
        try:
            refused = None if shown_by(graph) else ("prompt_no_outputs", "Prompt has no outputs")
        except ValueError as error:
            refused = ("invalid_prompt", str(error))
        if refused:
            error_of = {"type": refused[0], "message": refused[1], "details": "", "extra_info": {}}
            return web.json_response({"error": error_of, "node_errors": []}, status=400)
        job = await self._jobs.put(graph, str(body.get("client_id", "")))
        return web.json_response({"prompt_id": job.name, "number": job.number, "node_errors": {}})

    async def queue(self, _request: web.Request) -> web.Response:
        """Running and waiting jobs."""
        running = [self._jobs.running.listed()] if self._jobs.running else []
        waiting = [job.listed() for job in self._jobs.waiting]
        return web.json_response({"queue_running": running, "queue_pending": waiting})

    async def change_queue(self, request: web.Request) -> web.Response:
        """`clear`, or `delete` some."""
        body = await self._body(request, {"clear", "delete"})
        await self._jobs.drop(None if body.get("clear") else body.get("delete", []))
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        """What became of a job; {} while it is not done."""
        name, done = request.match_info["prompt_id"], self._jobs.history
        return web.json_response({name: done[name]} if name in done else {})

    async def change_history(self, request: web.Request) -> web.Response:
        """`delete` some."""
        for name in (await self._body(request, {"delete"})).get("delete", []):
            self._jobs.history.pop(name, None)
        return web.Response()

    async def view(self, request: web.Request) -> web.StreamResponse:
        """A picture: 400 for what is no name of one, 404 for one that is not there."""
        name, kind = request.query.get("filename", ""), request.query.get("type", "output")
        if Path(name).name != name or name in ("", "..") or kind not in ("output", "temp"):
            return web.Response(status=400)
        path = self._jobs.root / kind / name
        return web.FileResponse(path) if path.is_file() else web.Response(status=404)

    async def interrupt(self, _request: web.Request) -> web.Response:
        """Stop the running job."""
        self._jobs.interrupt()
        return web.Response()

    async def free(self, _request: web.Request) -> web.Response:
        """Unload the models: none ever is loaded."""
        return web.Response()

    async def checkpoints(self, _request: web.Request) -> web.Response:
        """The files that lie there."""
        folder = self._jobs.root / "models" / "checkpoints"
        return web.json_response(sorted(path.name for path in folder.glob("*") if path.is_file()))

    async def _body(self, request: web.Request, known: set[str]) -> dict[str, Any]:
        """Return the fields of a body; raises 400 for any this stand-in does not know."""
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError as problem:
            raise web.HTTPBadRequest(text=str(problem)) from None
        if not isinstance(body, dict) or set(body) - known:
            raise web.HTTPBadRequest(text=f"stand-in: the body may hold {', '.join(sorted(known))}")
        return body


def main() -> None:
    """Serve until told to stop."""
    options = parser().parse_args()
    api = Api(Path.cwd(), "cpu" if options.cpu else "cuda")
    print(f"STAND-IN for ComfyUI listening on {options.listen}:{options.port}", flush=True)
    web.run_app(api.application(), host=options.listen, port=options.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
