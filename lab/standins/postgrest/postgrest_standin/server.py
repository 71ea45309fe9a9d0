"""The two servers: the API, and the admin server that says how it is."""

import functools
import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from .database import ApiError, Database, LostError
from .tokens import role_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
DATABASE = web.AppKey("DATABASE", Database)
KEY = web.AppKey("KEY", str)
# An entry of the gateway is small; PostgREST has no limit of its own.
BODY_LIMIT = 64 * 2**20
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


def caller(request: web.Request) -> str:
    """Return the role of who asks. Raises ApiError for a token that is none."""
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer":
        return request.app[DATABASE].anonymous
    role = role_of(token, request.app[KEY])
    if role is None:
        raise ApiError(401, "PGRST301", "No suitable key or wrong key type")
    return role


async def relation(request: web.Request) -> web.Response:
    """All rows of a table or view, as many as an answer may hold."""
    if request.query:
        raise ApiError(501, "STANDIN", "the stand-in neither chooses columns nor filters")
    rows = await request.app[DATABASE].rows(caller(request), request.match_info["relation"])
    return web.Response(text=rows, content_type="application/json")


async def function(request: web.Request) -> web.Response:
    """What a function returns, which is JSON or nothing."""
    role, name = caller(request), request.match_info["function"]
    headers = {header.lower(): value for header, value in request.headers.items()}
    try:
        body = (await request.read()).decode()
    except UnicodeDecodeError:
        raise ApiError(400, "PGRST102", "Empty or invalid json") from None
    status, text = await request.app[DATABASE].call(role, name, headers, body)
    return web.Response(status=status, text=text, content_type="application/json" if text else None)


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


def api(database: Database, key: str) -> web.Application:
    """Return the API of one schema; `key` signs the tokens it takes."""
    app = web.Application(middlewares=[errors], client_max_size=BODY_LIMIT)
    app[DATABASE], app[KEY] = database, key
    app.router.add_get("/{relation}", relation)
    app.router.add_post("/rpc/{function}", function)
    return app


def admin(database: Database) -> web.Application:
    """Return the admin server."""
    app = web.Application()
    app[DATABASE] = database
    app.add_routes([web.get("/ready", ready), web.get("/metrics", metrics)])
    return app
