"""The two servers: the API, and the admin server that says how it is."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from .api import ApiError, AuthenticationError, LostError
from .postgres import PostgresStore

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
MAX_DELAY_S = 32
METRICS = """# TYPE pgrst_schema_cache_loads_total counter
pgrst_schema_cache_loads_total{{status="FAIL"}} {failed}
pgrst_schema_cache_loads_total{{status="SUCCESS"}} {loaded}
"""


class State:
    """Keeps the schema cache: loaded when the database is there, again when it says so or has been away."""

    def __init__(self, store: PostgresStore) -> None:
        """Nothing is loaded yet."""
        self._store = store
        self.schema: frozenset[str] | None = None
        self.connected = False
        self.delay_s = 1
        self.loads = {"loaded": 0, "failed": 0}

    async def _load(self) -> None:
        try:
            self.schema = await self._store.schema()
        except LostError:
            self.loads["failed"] += 1
            raise
        self.loads["loaded"] += 1
        self.connected, self.delay_s = True, 1

    async def follow(self) -> None:
        """Load, and again at every `reload schema`, until the connection is lost. Raises LostError."""
        try:
            async for said in self._store.changes():
                if said in ("", "reload schema"):
                    await self._load()
        finally:
            self.connected = False

    async def keep(self) -> None:
        """Follow for ever, waiting longer each time, 32 s at most. Raises AuthenticationError."""
        while True:
            try:
                await self.follow()
            except AuthenticationError:
                raise
            except LostError as problem:
                print(f"database: {problem}; next attempt in {self.delay_s} s", flush=True)
            await asyncio.sleep(self.delay_s)
            self.delay_s = min(2 * self.delay_s, MAX_DELAY_S)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as PostgREST does."""
    try:
        return await handler(request)
    except ApiError as problem:
        return web.json_response(problem.body, status=problem.status, dumps=COMPACT)
    except LostError as problem:
        print(f"database: {problem}", flush=True)
        lost = ApiError(503, "PGRST000", "Database connection error.", str(problem))
        return web.json_response(lost.body, status=lost.status, dumps=COMPACT)


class Api:
    """The API of one schema, without tokens: every caller is the anonymous role."""

    def __init__(self, store: PostgresStore, state: State) -> None:
        """Rows are those of `store`, relations those `state` knows."""
        self._store, self._state = store, state

    def application(self) -> web.Application:
        """Return the API."""
        app = web.Application(middlewares=[errors])
        app.router.add_get("/{relation}", self.relation)
        app.router.add_route("*", "/{path:.*}", self.elsewhere)
        return app

    async def relation(self, request: web.Request) -> web.Response:
        """All rows of a table or view, as many as an answer may hold."""
        if request.headers.get("Authorization", "").startswith("Bearer "):
            raise ApiError(500, "PGRST300", "Server lacks JWT secret")
        if self._state.schema is None:
            raise ApiError(503, "PGRST002", "Could not query the database for the schema cache. Retrying.")
        if (name := request.match_info["relation"]) not in self._state.schema:
            raise ApiError(404, "PGRST205", f"Could not find the table '{name}' in the schema cache")
        if request.query:
            raise ApiError(501, "STANDIN", "the stand-in neither chooses columns nor filters")
        return web.Response(text=await self._store.rows(name), content_type="application/json")

    async def elsewhere(self, request: web.Request) -> web.Response:
        """What the real one may answer, and nothing here asks for."""
        raise ApiError(501, "STANDIN", f"the stand-in does not know {request.method} {request.path}")


class Admin:
    """How it is: ready, and numbers."""

    def __init__(self, state: State) -> None:
        """`state` is what is told."""
        self._state = state

    def application(self) -> web.Application:
        """Return the admin server."""
        app = web.Application()
        app.router.add_get("/ready", self.ready)
        app.router.add_get("/metrics", self.metrics)
        return app

    async def ready(self, _request: web.Request) -> web.Response:
        """503 without a connection or a schema cache."""
        return web.Response(status=200 if self._state.connected and self._state.schema is not None else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Numbers for Prometheus."""
        return web.Response(text=METRICS.format(**self._state.loads), content_type="text/plain")
