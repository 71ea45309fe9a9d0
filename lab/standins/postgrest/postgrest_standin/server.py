"""The two servers: the API, and the admin server that says how it is."""

import functools
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from .database import ApiError, Database, LostError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
DATABASE = web.AppKey("DATABASE", Database)
METRICS = "# TYPE pgrst_db_pool_available gauge\npgrst_db_pool_available 1\n"


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer errors as PostgREST does."""
    try:
        return await handler(request)
    except ApiError as problem:
        if isinstance(problem, LostError):
            print(f"database: {problem}", flush=True)
        return web.json_response(problem.body, status=problem.status, dumps=COMPACT)


async def relation(request: web.Request) -> web.Response:
    """All rows of a table or view, as many as an answer may hold; every caller is the anonymous role."""
    if request.headers.get("Authorization", "").startswith("Bearer "):
        raise ApiError(500, "PGRST300", "Server lacks JWT secret")
    if request.query:
        raise ApiError(501, "STANDIN", "the stand-in neither chooses columns nor filters")
    rows = await request.app[DATABASE].rows(request.match_info["relation"])
    return web.Response(text=rows, content_type="application/json")


async def ready(request: web.Request) -> web.Response:
    """503 without a connection."""
    try:
        await (await request.app[DATABASE].connect()).close()
    except LostError as problem:
        print(f"database: {problem}", flush=True)
        return web.Response(status=503)
    return web.Response()


async def metrics(_request: web.Request) -> web.Response:
    """Numbers for Prometheus."""
    return web.Response(text=METRICS)


def api(database: Database) -> web.Application:
    """Return the API of one schema."""
    app = web.Application(middlewares=[errors])
    app[DATABASE] = database
    app.router.add_get("/{relation}", relation)
    return app


def admin(database: Database) -> web.Application:
    """Return the admin server."""
    app = web.Application()
    app[DATABASE] = database
    app.add_routes([web.get("/ready", ready), web.get("/metrics", metrics)])
    return app
