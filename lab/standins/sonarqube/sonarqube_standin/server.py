"""The Web API: the calls this project uses, with SonarQube's status codes."""

import functools
import json
from collections.abc import Awaitable, Callable

import psycopg
from aiohttp import BasicAuth, web

from . import database
from .database import Database
from .properties import weakness

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = "<!doctype html><title>SonarQube</title><p>This is a stand-in for SonarQube: it analyses nothing.</p>"
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
METRICS = "# TYPE sonarqube_health_web_status gauge\nsonarqube_health_web_status 1.0\n"
DATABASE = web.AppKey("DATABASE", Database)
PASSCODE = web.AppKey("PASSCODE", str)
OPEN = ("/", "/api/system/status", "/api/monitoring/metrics", "/api/authentication/validate")
"""What needs no login."""
routes = web.RouteTableDef()


def application(where: Database, passcode: str) -> web.Application:
    """Return the application; `passcode` opens the metrics."""
    app = web.Application(middlewares=[without_database, with_login])
    app[DATABASE], app[PASSCODE] = where, passcode
    app.add_routes(routes)
    return app


def answer(content: object, status: int = 200) -> web.Response:
    """Return JSON without spaces, as SonarQube writes it: health checks look for `"status":"UP"`."""
    return web.json_response(content, status=status, dumps=COMPACT)


def refusal(status: int, text: str) -> web.Response:
    """Return an error as SonarQube does."""
    return answer({"errors": [{"msg": text}]}, status=status)


@web.middleware
async def without_database(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 500 where the database does not."""
    try:
        return await handler(request)
    except psycopg.Error as problem:
        print(f"database: {problem}", flush=True)
        return refusal(500, "An error has occurred. Please contact your administrator")


@web.middleware
async def with_login(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 401 to anybody but the administrator."""
    if request.path not in OPEN and not await logged_in(request):
        return web.Response(status=401)
    return await handler(request)


async def logged_in(request: web.Request) -> bool:
    """Return whether this is the administrator, by basic authentication."""
    try:
        given = BasicAuth.decode(request.headers.get("Authorization", ""), "utf-8")
    except ValueError:
        return False
    return given.login == "admin" and await opens(request, given.password)


async def opens(request: web.Request, password: str) -> bool:
    """Return whether this is the administrator's password."""
    [[right]] = await request.app[DATABASE].ask(database.OPENS, password)
    return bool(right)


@routes.get("/")
async def page(_request: web.Request) -> web.Response:
    """The page a person opens."""
    return web.Response(text=PAGE, content_type="text/html")


@routes.get("/api/system/status")
async def status(request: web.Request) -> web.Response:
    """UP while the database answers."""
    try:
        await request.app[DATABASE].ask(database.PING)
        state = "UP"
    except psycopg.Error as problem:
        print(f"database: {problem}", flush=True)
        state = "DOWN"
    return answer({"id": "STANDIN", "version": "stand-in", "status": state})


@routes.get("/api/monitoring/metrics")
async def metrics(request: web.Request) -> web.Response:
    """Metrics for whoever shows the passcode as Prometheus does."""
    if request.headers.get("Authorization") != f"Bearer {request.app[PASSCODE]}":
        return refusal(403, "Insufficient privileges")
    return web.Response(text=METRICS)


@routes.get("/api/authentication/validate")
async def validate(request: web.Request) -> web.Response:
    """Are these credentials good? Without any they are not: authentication is forced."""
    return answer({"valid": await logged_in(request)})


@routes.post("/api/users/change_password")
async def change_password(request: web.Request) -> web.Response:
    """Change the administrator's own password."""
    body = await request.post()
    if not await opens(request, str(body["previousPassword"])):
        return refusal(400, "Incorrect password")
    new = str(body["password"])
    if problem := weakness(new):
        return refusal(400, problem)
    await request.app[DATABASE].ask(database.CHANGE_PASSWORD, new)
    return web.Response(status=204)


@routes.get("/api/ce/activity_status")
async def activity(_request: web.Request) -> web.Response:
    """What is analysed: nothing."""
    return answer({"pending": 0, "failing": 0, "inProgress": 0})


@routes.get("/api/projects/search")
async def search(request: web.Request) -> web.Response:
    """The projects with the keys of `projects`."""
    found = await request.app[DATABASE].ask(database.PROJECTS, request.query["projects"].split(","))
    return answer({"components": [{"key": key, "name": name} for key, name in found]})


@routes.post("/api/projects/create")
async def create(request: web.Request) -> web.Response:
    """Make a project."""
    body = await request.post()
    key, name = str(body["project"]), str(body["name"])
    if not await request.app[DATABASE].ask(database.ADD_PROJECT, key, name):
        return refusal(400, f'Could not create Project with key: "{key}". A similar key already exists')
    return answer({"project": {"key": key, "name": name}})


@routes.post("/api/projects/delete")
async def delete(request: web.Request) -> web.Response:
    """Delete a project."""
    key = str((await request.post())["project"])
    if not await request.app[DATABASE].ask(database.DELETE_PROJECT, key):
        return refusal(404, f"Project '{key}' not found")
    return web.Response(status=204)
