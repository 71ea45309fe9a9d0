"""The two servers: the API, and the admin server that says how it is."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from aiohttp import web

from . import VERSION
from .api import ApiError, AuthenticationError, Function, LostError, Read, Schema, body_of, read

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
MAX_DELAY_S = 32
METRICS = """# HELP pgrst_schema_cache_loads_total The total number of times the schema cache was loaded
# TYPE pgrst_schema_cache_loads_total counter
pgrst_schema_cache_loads_total{{status="FAIL"}} {failed}
pgrst_schema_cache_loads_total{{status="SUCCESS"}} {loaded}
# HELP pgrst_db_pool_max Max pool connections
# TYPE pgrst_db_pool_max gauge
pgrst_db_pool_max 1
"""


class Store(Protocol):
    """What is asked of the database; all raise LostError, and the last two ApiError."""

    async def schema(self) -> Schema:
        """Read the schema cache."""

    def changes(self) -> AsyncIterator[str]:
        """Yield "" when listening has begun, then every notification."""

    async def rows(self, wanted: Read) -> str:
        """Return the rows as JSON text."""

    async def call(self, called: Function, body: object) -> str | None:
        """Call a function; return its result as JSON text, None if it has none."""


class State:
    """Keeps the schema cache: loaded when the database is there, again when it says so or has been away."""

    def __init__(self, store: Store) -> None:
        """Nothing is loaded yet."""
        self._store = store
        self.schema: Schema | None = None
        self.connected = False
        self.delay_s = 1
        self.loads = {"loaded": 0, "failed": 0}

    @property
    def ready(self) -> bool:
        """Connected, with a schema cache."""
        return self.connected and self.schema is not None

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


def json_answer(text: str, status: int = 200, **headers: str) -> web.Response:
    """Return JSON as PostgREST labels it."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(
        text=text, status=status, content_type="application/json", charset="utf-8", headers=named
    )


class Api:
    """The API of one schema, without tokens: every caller is the anonymous role."""

    def __init__(self, store: Store, state: State, max_rows: int | None = None) -> None:
        """`max_rows` is the most an answer holds."""
        self._store, self._state, self._max_rows = store, state, max_rows

    def application(self) -> web.Application:
        """Return the API."""
        app = web.Application(middlewares=[self._errors])
        app.router.add_route("*", "/rpc/{name}", self.call)
        app.router.add_route("*", "/", self.root)
        app.router.add_route("*", "/{relation}", self.relation)
        app.router.add_route("*", "/{path:.*}", self.elsewhere)
        return app

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer errors as PostgREST does, and say who answers."""
        try:
            if request.headers.get("Authorization", "").lower().startswith("bearer "):
                raise ApiError(500, "PGRST300", "Server lacks JWT secret")
            response = await handler(request)
        except ApiError as problem:
            response = json_answer(COMPACT(problem.body), problem.status)
        except LostError as problem:
            print(f"database: {problem}", flush=True)
            body = {
                "code": "PGRST000",
                "details": str(problem),
                "hint": None,
                "message": "Database connection error.",
            }
            response = json_answer(COMPACT(body), 503, Retry_After=str(self._state.delay_s))
        response.headers["Server"] = f"postgrest-stand-in/{VERSION}"
        return response

    def _schema(self) -> Schema:
        """Return the schema cache; raises 503 before there is one."""
        if self._state.schema is None:
            message = "Could not query the database for the schema cache. Retrying."
            raise ApiError(503, "PGRST002", message)
        return self._state.schema

    async def elsewhere(self, _request: web.Request) -> web.Response:
        """There are no other paths."""
        raise ApiError(404, "PGRST125", "Invalid path specified in request URL")

    async def root(self, request: web.Request) -> web.Response:
        """The schema as OpenAPI describes it: names only."""
        if request.method not in ("GET", "HEAD"):
            raise ApiError(405, "PGRST117", f"Unsupported HTTP method: {request.method}")
        schema = self._schema()
        names = ["/", *sorted(f"/{one}" for one in schema.relations)]
        names += sorted({f"/rpc/{one.name}" for one in schema.functions})
        info = {"title": "PostgREST API", "description": "stand-in", "version": VERSION}
        body = {"swagger": "2.0", "info": info, "paths": {name: {} for name in names}}
        return web.Response(text=COMPACT(body), content_type="application/openapi+json", charset="utf-8")

    async def relation(self, request: web.Request) -> web.Response:
        """Rows of a table or view; writing is not known here."""
        if request.method not in ("GET", "HEAD"):
            raise ApiError(501, "STANDIN", f"stand-in: {request.method} of a relation is not known here")
        name = self._schema().relation(request.match_info["relation"])
        wanted = read(name, list(request.query.items()), self._max_rows)
        text = await self._store.rows(wanted)
        count = len(json.loads(text))
        span = f"{wanted.offset}-{wanted.offset + count - 1}" if count else "*"
        return json_answer(text, Content_Range=f"{span}/*")

    async def call(self, request: web.Request) -> web.Response:
        """Call a function by POST."""
        if request.method != "POST":
            message = f"Cannot use the {request.method} method on RPC"
            raise ApiError(405, "PGRST101", message, details="stand-in: functions are called by POST only")
        body = body_of(await request.read())
        called = self._schema().function(request.match_info["name"], body)
        result = await self._store.call(called, body)
        return web.Response(status=204) if result is None else json_answer(result)


class Admin:
    """How it is: alive, ready, and numbers."""

    def __init__(self, state: State) -> None:
        """`state` is what is told."""
        self._state = state

    def application(self) -> web.Application:
        """Return the admin server."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/live", self.live),
                web.get("/ready", self.ready),
                web.get("/metrics", self.metrics),
            ]
        )
        return app

    async def live(self, _request: web.Request) -> web.Response:
        """The API's port is open."""
        return web.Response()

    async def ready(self, _request: web.Request) -> web.Response:
        """503 without a connection or a schema cache."""
        return web.Response(status=200 if self._state.ready else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Numbers for Prometheus."""
        return web.Response(text=METRICS.format(**self._state.loads), content_type="text/plain")
