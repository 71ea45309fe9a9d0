"""The HTTP interface: the endpoints this project uses, with Ollama's status codes and error texts."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web

from . import VERSION, answers
from .names import Name, parse
from .pull import pull
from .scheduler import FOREVER, BusyError, Scheduler, seconds
from .store import Model, Store

BUSY = "server busy, please try again.  maximum pending requests exceeded"
NEVER = "2318-01-01T00:00:00Z"


@dataclass(frozen=True)
class Settings:
    """Where models are, the bytes per second of a pull, and the speed of an answer; 0 = no limit."""

    models: Path
    pull_rate: int
    tokens_per_second: float

    @classmethod
    def from_environment(cls) -> Settings:
        """Read OLLAMA_MODELS. Tokens have a pace: a gateway that holds a stream back shall be seen."""
        return cls(Path(os.environ.get("OLLAMA_MODELS", str(Path.home() / ".ollama" / "models"))), 0, 400)

    def present_pull_rate(self) -> int:
        """Return the bytes per second of a pull: what the file `standin-pull-rate` says, else `pull_rate`."""
        try:
            return int((self.models / "standin-pull-rate").read_text())
        except (OSError, ValueError):
            return self.pull_rate


def scheduler_from_environment() -> Scheduler:
    """Read the OLLAMA_ variables that decide about loads."""
    return Scheduler(
        max_loaded=int(os.environ.get("OLLAMA_MAX_LOADED_MODELS", "3")),
        max_queue=int(os.environ.get("OLLAMA_MAX_QUEUE", "512")),
        num_parallel=int(os.environ.get("OLLAMA_NUM_PARALLEL", "1")),
        keep_alive_s=seconds(os.environ.get("OLLAMA_KEEP_ALIVE"), 300.0),
    )


def error(status: int, text: str) -> web.Response:
    """Return an error as Ollama does."""
    return web.json_response({"error": text}, status=status)


def details(model: Model) -> dict[str, Any]:
    """Return a model as /api/tags shows it."""
    family = model.name.model
    return {
        "name": model.name.short,
        "model": model.name.short,
        "modified_at": model.modified.isoformat(),
        "size": model.size,
        "digest": model.digest,
        "details": {"format": "gguf", "family": family, "families": [family], "quantization_level": "Q4_0"},
    }


class Api:
    """One method per endpoint."""

    def __init__(self, settings: Settings, scheduler: Scheduler) -> None:
        """Serve the models below `settings.models`."""
        self._settings, self._scheduler, self._store = settings, scheduler, Store(settings.models)

    def application(self) -> web.Application:
        """Return the application with all routes."""
        app = web.Application(client_max_size=64 * 2**20)
        app.add_routes(
            [
                web.get("/", self.alive),
                web.get("/api/version", self.version),
                web.get("/api/tags", self.tags),
                web.get("/api/ps", self.ps),
                web.post("/api/pull", self.pull),
                web.post("/api/copy", self.copy),
                web.delete("/api/delete", self.delete),
                web.post("/api/chat", self.chat),
                web.post("/api/generate", self.generate),
                web.get("/v1/models", self.openai_models),
                web.post("/v1/chat/completions", self.openai_chat),
            ]
        )
        return app

    async def alive(self, _request: web.Request) -> web.Response:
        """Liveness."""
        return web.Response(text="Ollama is running")

    async def version(self, _request: web.Request) -> web.Response:
        """Liveness and version."""
        return web.json_response({"version": VERSION})

    async def tags(self, _request: web.Request) -> web.Response:
        """Installed models."""
        return web.json_response({"models": [details(model) for model in self._store.all()]})

    async def ps(self, _request: web.Request) -> web.Response:
        """Models in memory, the first to go first."""
        running = sorted(self._scheduler.running().items(), key=lambda item: item[1].expires)
        return web.json_response({"models": [self._loaded(name, slot.expires) for name, slot in running]})

    def _loaded(self, name: str, expires: float) -> dict[str, Any]:
        model = self._store.get(parse(name))
        size = model.size if model else 0
        left = timedelta(seconds=max(0.0, expires - time.monotonic())) if expires != FOREVER else None
        until = (datetime.now(UTC) + left).isoformat() if left is not None else NEVER
        shown = details(model) if model else {"name": name, "model": name}
        context = int(os.environ.get("OLLAMA_CONTEXT_LENGTH", "4096"))
        return {**shown, "size": size, "size_vram": size, "expires_at": until, "context_length": context}

    async def copy(self, request: web.Request) -> web.Response:
        """Give a model a second name."""
        body = await self._body(request)
        source, destination = str(body.get("source", "")), str(body.get("destination", ""))
        try:
            copied = self._store.copy(parse(source), parse(destination))
        except ValueError as problem:
            return error(400, str(problem))
        return web.Response() if copied else error(404, f'model "{source}" not found')

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a model."""
        body, name = await self._named(request)
        if name is None or not self._store.delete(name):
            return error(404, f"model '{body.get('model', body.get('name', ''))}' not found")
        return web.Response()

    async def pull(self, request: web.Request) -> web.StreamResponse:
        """Stream a pull, or answer once at its end with `stream: false`."""
        body, name = await self._named(request)
        if name is None:
            return error(400, "invalid model name")
        insecure = bool(body.get("insecure"))
        lines = pull(self._store, name, self._settings.present_pull_rate, insecure=insecure)
        if body.get("stream", True):
            return await self._stream(
                request, "application/x-ndjson", (json.dumps(line) + "\n" async for line in lines)
            )
        last = [line async for line in lines][-1]
        return web.json_response(last, status=500 if "error" in last else 200)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation."""
        return await self._answer(request, "chat")

    async def generate(self, request: web.Request) -> web.StreamResponse:
        """Answer a prompt."""
        return await self._answer(request, "generate")

    async def openai_models(self, _request: web.Request) -> web.Response:
        """Installed models, as OpenAI lists them."""
        models = [
            {
                "id": m.name.short,
                "object": "model",
                "created": int(m.modified.timestamp()),
                "owned_by": m.name.namespace,
            }
            for m in self._store.all()
        ]
        return web.json_response({"object": "list", "data": models})

    async def openai_chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a conversation in OpenAI's shape; a stream is off unless asked for."""
        return await self._answer(request, "openai")

    async def _answer(self, request: web.Request, kind: str) -> web.StreamResponse:
        body, name = await self._named(request)
        asked = str(body.get("model", ""))
        if name is None or self._store.get(name) is None:
            return error(404, f"model '{asked}' not found")
        keep_alive = body.get("keep_alive")
        try:
            async with self._scheduler.use(name.short, keep_alive):
                if body.get("stream", kind != "openai"):
                    media = "text/event-stream" if kind == "openai" else "application/x-ndjson"
                    return await self._stream(request, media, self._said(kind, asked, body))
                return web.json_response(await self._whole(kind, asked, body))
        except BusyError:
            return error(503, BUSY)
        except ValueError as problem:
            return error(400, str(problem))

    async def _words(self, model: str, prompt: str) -> AsyncIterator[str]:
        pause = 1 / self._settings.tokens_per_second if self._settings.tokens_per_second else 0.0
        for word in answers.tokens(model, prompt) if prompt else []:
            yield word
            await asyncio.sleep(pause)

    async def _said(self, kind: str, model: str, body: dict[str, Any]) -> AsyncIterator[str]:
        started, prompt, count = time.monotonic(), answers.prompt_of(body), 0
        async for word in self._words(model, prompt):
            count += 1
            if kind == "openai":
                yield f"data: {json.dumps(answers.openai_piece(model, word, last=False))}\n\n"
            else:
                yield json.dumps(answers.piece(kind, model, word)) + "\n"
        if kind == "openai":
            yield f"data: {json.dumps(answers.openai_piece(model, '', last=True))}\n\ndata: [DONE]\n\n"
        else:
            yield json.dumps(answers.piece(kind, model, "") | self._end(body, count, started)) + "\n"

    async def _whole(self, kind: str, model: str, body: dict[str, Any]) -> dict[str, Any]:
        started, prompt = time.monotonic(), answers.prompt_of(body)
        words = [word async for word in self._words(model, prompt)]
        text = "".join(words).strip()
        if kind == "openai":
            return answers.openai_whole(model, text, prompt)
        return answers.piece(kind, model, text) | self._end(body, len(words), started)

    def _end(self, body: dict[str, Any], count: int, started: float) -> dict[str, Any]:
        prompt = answers.prompt_of(body)
        return answers.counts(prompt, count, started) if prompt else answers.loaded(body.get("keep_alive"))

    async def _body(self, request: web.Request) -> dict[str, Any]:
        try:
            body = json.loads(await request.text() or "{}")
        except ValueError as problem:
            raise web.HTTPBadRequest(
                text=json.dumps({"error": str(problem)}), content_type="application/json"
            ) from None
        return body if isinstance(body, dict) else {}

    async def _named(self, request: web.Request) -> tuple[dict[str, Any], Name | None]:
        body = await self._body(request)
        try:
            return body, parse(str(body.get("model") or body.get("name") or ""))
        except ValueError:
            return body, None

    async def _stream(
        self, request: web.Request, media: str, lines: AsyncIterator[str]
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": media})
        await response.prepare(request)
        async for line in lines:
            await response.write(line.encode())
        await response.write_eof()
        return response


def serve() -> None:
    """Run until told to stop."""
    host, _, port = os.environ.get("OLLAMA_HOST", "127.0.0.1:11434").rpartition(":")
    api = Api(Settings.from_environment(), scheduler_from_environment())
    print(f"STAND-IN for Ollama {VERSION} listening on {host}:{port}", flush=True)
    # A client that hangs up ends its answer, as with Ollama.
    web.run_app(
        api.application(), host=host, port=int(port), access_log=None, print=None, handler_cancellation=True
    )
