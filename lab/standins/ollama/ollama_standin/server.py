"""The HTTP interface: the endpoints this project uses, with Ollama's status codes and error texts."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from . import VERSION, answers
from .names import Name, parse
from .pull import pull
from .store import Model, Store

MODELS = Path.home() / ".ollama" / "models"
# An answer has a pace: a gateway that holds a stream back shall be seen.
TOKENS_PER_SECOND = 400


def pull_rate() -> int:
    """Return the bytes per second of a pull: what the file `standin-pull-rate` says, 0 = no limit."""
    try:
        return int((MODELS / "standin-pull-rate").read_text())
    except (OSError, ValueError):
        return 0


def error(status: int, text: str) -> web.Response:
    """Return an error as Ollama does."""
    return web.json_response({"error": text}, status=status)


def details(model: Model) -> dict[str, Any]:
    """Return a model as /api/tags shows it."""
    return {"name": model.name.short, "size": model.size, "digest": model.digest}


class Api:
    """One method per endpoint."""

    def __init__(self) -> None:
        """Serve the models on disk; none is in memory yet."""
        self._store = Store(MODELS)
        self._loaded: set[Name] = set()

    def application(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.get("/api/version", self.version),
                web.get("/api/tags", self.tags),
                web.get("/api/ps", self.ps),
                web.post("/api/pull", self.pull),
                web.post("/api/copy", self.copy),
                web.delete("/api/delete", self.delete),
                web.post("/api/chat", partial(self._answer, "chat")),
                web.post("/api/generate", partial(self._answer, "generate")),
                web.get("/v1/models", self.openai_models),
                web.post("/v1/chat/completions", partial(self._answer, "openai")),
            ]
        )
        return app

    async def version(self, _request: web.Request) -> web.Response:
        """Liveness and version."""
        return web.json_response({"version": VERSION})

    async def tags(self, _request: web.Request) -> web.Response:
        """Installed models."""
        return web.json_response({"models": [details(model) for model in self._store.all()]})

    async def ps(self, _request: web.Request) -> web.Response:
        """Models in memory."""
        models = [model for model in map(self._store.get, self._loaded) if model]
        return web.json_response({"models": [{**details(m), "size_vram": m.size} for m in models]})

    async def copy(self, request: web.Request) -> web.Response:
        """Give a model a second name."""
        body = json.loads(await request.text())
        copied = self._store.copy(parse(body["source"]), parse(body["destination"]))
        return web.Response() if copied else error(404, f'model "{body["source"]}" not found')

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a model."""
        body, name = await self._named(request)
        if name is None or not self._store.delete(name):
            return error(404, f"model '{body.get('model')}' not found")
        return web.Response()

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Stream a pull."""
        body, name = await self._named(request)
        if name is None:
            return error(400, "invalid model name")
        lines = pull(self._store, name, pull_rate, insecure=bool(body.get("insecure")))
        return await self._stream(request, lines)

    async def openai_models(self, _request: web.Request) -> web.Response:
        """Installed models, as OpenAI lists them."""
        models = [{"id": model.name.short, "object": "model"} for model in self._store.all()]
        return web.json_response({"object": "list", "data": models})

    async def _answer(self, kind: str, request: web.Request) -> web.StreamResponse:
        """Answer a prompt or a conversation; in OpenAI's shape only as a whole."""
        body, name = await self._named(request)
        asked = str(body.get("model", ""))
        if name is None or self._store.get(name) is None:
            return error(404, f"model '{asked}' not found")
        self._loaded.add(name)
        if body.get("keep_alive") == 0:
            self._loaded.discard(name)
        if kind == "openai" or not body.get("stream", True):
            return web.json_response(await self._whole(kind, asked, body))
        return await self._stream(request, self._said(kind, asked, body))

    async def _words(self, model: str, prompt: str) -> AsyncIterator[str]:
        for word in answers.tokens(model, prompt) if prompt else []:
            yield word
            await asyncio.sleep(1 / TOKENS_PER_SECOND)

    async def _said(self, kind: str, model: str, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        prompt, count = answers.prompt_of(body), 0
        async for word in self._words(model, prompt):
            count += 1
            yield answers.piece(kind, model, word)
        yield answers.piece(kind, model, "") | answers.end(prompt, count)

    async def _whole(self, kind: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
        prompt = answers.prompt_of(body)
        words = [word async for word in self._words(model, prompt)]
        text = "".join(words).strip()
        if kind == "openai":
            return answers.openai(model, text)
        return answers.piece(kind, model, text) | answers.end(prompt, len(words))

    async def _named(self, request: web.Request) -> tuple[dict[str, Any], Name | None]:
        body: dict[str, Any] = json.loads(await request.text() or "{}")
        try:
            return body, parse(str(body.get("model", "")))
        except ValueError:
            return body, None

    async def _stream(self, request: web.Request, lines: AsyncIterator[dict[str, Any]]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await response.prepare(request)
        async for line in lines:
            await response.write(json.dumps(line).encode() + b"\n")
        await response.write_eof()
        return response


def serve() -> None:
    """Run until told to stop."""
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")
    print(f"STAND-IN for Ollama {VERSION} listening on {host}:{port}", flush=True)
    # A client that hangs up ends its answer, as with Ollama.
    web.run_app(
        Api().application(),
        host=host,
        port=int(port),
        access_log=None,
        print=None,
        handler_cancellation=True,
    )
