"""The Web API: the calls this project uses, with SonarQube's status codes."""

from __future__ import annotations

import base64
import binascii
import functools
import hmac
import json
import os
from collections.abc import Awaitable, Callable

from aiohttp import web

from . import VERSION
from .postgres import PostgresStore
from .store import SALT_BYTES, DatabaseError, hashed, matches, weakness

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PAGE = "<!doctype html><title>SonarQube</title><p>This is a stand-in for SonarQube: it analyses nothing.</p>"
COMPACT = functools.partial(json.dumps, separators=(",", ":"))
METRICS = "# TYPE sonarqube_health_web_status gauge\nsonarqube_health_web_status 1.0\n"


def answer(content: object, status: int = 200) -> web.Response:
    """Return JSON without spaces, as SonarQube writes it: health checks look for `"status":"UP"`."""
    return web.json_response(content, status=status, dumps=COMPACT)


def refusal(status: int, text: str) -> web.Response:
    """Return an error as SonarQube does."""
    return answer({"errors": [{"msg": text}]}, status=status)


def credentials(request: web.Request) -> tuple[str, str] | None:
    """Return login and password of basic authentication; None without."""
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        login, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return login, password


@web.middleware
async def without_database(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer 500 where the database does not."""
    try:
        return await handler(request)
    except DatabaseError as problem:
        print(f"database: {problem}", flush=True)
        return refusal(500, "An error has occurred. Please contact your administrator")


class Api:
    """One method per call."""

    def __init__(self, store: PostgresStore, passcode: str) -> None:
        """`passcode` opens the metrics; an empty one opens nothing."""
        self._store, self._passcode = store, passcode

    def application(self) -> web.Application:
        """Return the application with all calls."""
        app = web.Application(middlewares=[without_database])
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/api/system/status", self.status),
                web.get("/api/monitoring/metrics", self.metrics),
                web.get("/api/authentication/validate", self.validate),
                web.post("/api/users/change_password", self.change_password),
                web.get("/api/projects/search", self.search),
                web.post("/api/projects/create", self.create),
                web.post("/api/projects/delete", self.delete),
            ]
        )
        return app

    async def page(self, _request: web.Request) -> web.Response:
        """The page a person opens."""
        return web.Response(text=PAGE, content_type="text/html")

    async def status(self, _request: web.Request) -> web.Response:
        """UP while the database answers."""
        try:
            await self._store.ping()
            state = "UP"
        except DatabaseError as problem:
            print(f"database: {problem}", flush=True)
            state = "DOWN"
        return answer({"id": "STANDIN", "version": VERSION, "status": state})

    async def metrics(self, request: web.Request) -> web.Response:
        """Metrics for whoever shows the passcode as Prometheus does."""
        kind, _, shown = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(shown.encode(), self._passcode.encode())
        if kind != "Bearer" or not self._passcode or not right:
            return refusal(403, "Insufficient privileges")
        return web.Response(text=METRICS)

    async def _knows(self, given: tuple[str, str] | None) -> bool:
        secret = await self._store.secret_of(given[0]) if given else None
        return given is not None and secret is not None and matches(given[1], secret)

    async def _refused(self, request: web.Request) -> web.Response | None:
        """Return 401 for whoever is not let in; None else."""
        return None if await self._knows(credentials(request)) else web.Response(status=401)

    async def validate(self, request: web.Request) -> web.Response:
        """Are these credentials good? Without any they are not: authentication is forced."""
        return answer({"valid": await self._knows(credentials(request))})

    async def change_password(self, request: web.Request) -> web.Response:
        """Change one's own password."""
        if refused := await self._refused(request):
            return refused
        body = await request.post()
        login, new = str(body.get("login", "")), str(body.get("password", ""))
        old = str(body.get("previousPassword", ""))
        if not await self._knows((login, old)):
            return refusal(400, "Incorrect password")
        if problem := weakness(new):
            return refusal(400, problem)
        await self._store.keep_secret(login, hashed(new, os.urandom(SALT_BYTES)))
        return web.Response(status=204)

    async def search(self, request: web.Request) -> web.Response:
        """The projects with the keys of `projects`."""
        if refused := await self._refused(request):
            return refused
        if set(request.query) != {"projects"}:
            return refusal(400, "stand-in: searches by the parameter projects only")
        wanted, kept = request.query["projects"].split(","), await self._store.projects()
        return answer({"components": [{"key": key, "name": kept[key]} for key in wanted if key in kept]})

    async def create(self, request: web.Request) -> web.Response:
        """Make a project."""
        if refused := await self._refused(request):
            return refused
        body = await request.post()
        key, name = str(body.get("project", "")), str(body.get("name", ""))
        for parameter, value in (("project", key), ("name", name)):
            if not value:
                return refusal(400, f"The '{parameter}' parameter is missing")
        if not await self._store.add_project(key, name):
            return refusal(400, f'Could not create Project with key: "{key}". A similar key already exists')
        return answer({"project": {"key": key, "name": name}})

    async def delete(self, request: web.Request) -> web.Response:
        """Delete a project."""
        if refused := await self._refused(request):
            return refused
        key = str((await request.post()).get("project", ""))
        if not await self._store.delete_project(key):
            return refusal(404, f"Project '{key}' not found")
        return web.Response(status=204)
