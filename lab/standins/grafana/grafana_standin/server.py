"""The HTTP interface: the endpoints this project uses, with Grafana's status codes and words."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from html import escape

import aiohttp
from aiohttp import web

from . import VERSION
from .provisioning import read_dashboards, read_datasources
from .settings import Settings
from .store import USER, Store

NOTE = "This is a stand-in for Grafana: it has the dashboards and asks the data sources, but draws nothing."
VISITOR = ""
# What a visitor gets of an endpoint.
WELCOME, NOBODY, FORBIDDEN = 200, 401, 403
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(status: int, message: str) -> web.Response:
    """Return an error as Grafana does."""
    return web.json_response({"message": message}, status=status)


class Api:
    """One method per endpoint."""

    def __init__(self, settings: Settings) -> None:
        """Provision everything; raises ProvisioningError or OSError as Grafana ends its start."""
        self._settings, self._root = settings, settings.sub_path
        self._datasources = read_datasources(settings.provisioning / "datasources")
        self._dashboards = read_dashboards(settings.provisioning / "dashboards")
        self._store = Store(settings.data)
        self._store.begin(settings.admin_password)

    def application(self) -> web.Application:
        """Return the application with all routes; what is beside the sub path is sent below it."""
        app = web.Application()
        for path, handler in (
            ("/api/health", self.health),
            ("/api/user", self._for(NOBODY, self.user)),
            ("/api/search", self._for(WELCOME, self.search)),
            ("/api/dashboards/uid/{uid}", self._for(WELCOME, self.dashboard)),
            ("/api/datasources", self._for(FORBIDDEN, self.datasources)),
            ("/api/datasources/proxy/uid/{uid}/{path:.*}", self._for(WELCOME, self.proxy)),
            ("/", self.page),
            ("/login", self.login),
        ):
            app.router.add_route("GET", self._root + path, handler)
        app.router.add_route("*", "/{path:.*}", self.elsewhere)
        return app

    async def _who(self, request: web.Request) -> str | None:
        """Who asks, by basic auth or as a visitor; None where that is nobody.

        A wrong password is refused, visitors welcome or not.
        """
        header = request.headers.get("Authorization", "")
        if not header.startswith("Basic "):
            return VISITOR if self._settings.visitors else None
        try:
            user, _, password = base64.b64decode(header[6:], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return user if await asyncio.to_thread(self._store.opens, user, password) else None

    def _for(self, visitors: int, handler: Handler) -> Handler:
        """Return the handler for the administrator, and for visitors if they are welcome."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            who = await self._who(request)
            if who is None or (who == VISITOR and visitors == NOBODY):
                return refusal(401, "Unauthorized")
            if who == VISITOR and visitors == FORBIDDEN:
                return refusal(403, "You'll need additional permissions to perform this action.")
            return await handler(request)

        return guarded

    async def health(self, _request: web.Request) -> web.Response:
        """Whether the database can be read."""
        healthy = await asyncio.to_thread(self._store.healthy)
        told = {"database": "ok" if healthy else "failing"}
        return web.json_response(told, status=200 if healthy else 503)

    async def user(self, _request: web.Request) -> web.Response:
        """The administrator."""
        return web.json_response({"id": 1, "login": USER, "orgId": 1, "isGrafanaAdmin": True})

    async def search(self, request: web.Request) -> web.Response:
        """All dashboards."""
        if request.query.get("type") != "dash-db" or set(request.query) - {"type", "limit"}:
            return refusal(501, "stand-in: knows type=dash-db and limit only")
        found = [{"uid": one.uid, "title": one.title, "type": "dash-db"} for one in self._dashboards.values()]
        return web.json_response(found[: int(request.query.get("limit", "1000"))])

    async def dashboard(self, request: web.Request) -> web.Response:
        """A dashboard as it stands in its file."""
        found = self._dashboards.get(request.match_info["uid"])
        if found is None:
            return refusal(404, "Dashboard not found")
        return web.json_response({"meta": {"provisioned": True, "canSave": False}, "dashboard": found.model})

    async def datasources(self, _request: web.Request) -> web.Response:
        """All data sources."""
        return web.json_response(list(self._datasources.values()))

    async def proxy(self, request: web.Request) -> web.Response:
        """Pass a question on to a data source, without the asker's login."""
        found = self._datasources.get(request.match_info["uid"])
        if found is None:
            return refusal(404, "Unable to find datasource")
        asked = "?".join(filter(None, (request.match_info["path"], request.rel_url.raw_query_string)))
        timeout = aiohttp.ClientTimeout(total=self._settings.proxy_timeout_s)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(f"{str(found['url']).rstrip('/')}/{asked}") as answer,
            ):
                kind = answer.headers.get("Content-Type", "text/plain")
                body = await answer.read()
                return web.Response(status=answer.status, body=body, headers={"Content-Type": kind})
        except TimeoutError:
            return refusal(504, "Gateway Timeout")
        except (OSError, aiohttp.ClientError) as error:
            print(f'logger=data-proxy-log level=error msg="Proxy request failed" err="{error}"', flush=True)
            return refusal(502, "Bad Gateway")

    async def page(self, request: web.Request) -> web.Response:
        """The first page: which dashboards there are. Who may not look is sent to log in."""
        if await self._who(request) is None:
            return web.Response(status=302, headers={"Location": f"{self._root}/login"})
        items = "".join(f"<li>{escape(one.title)}" for one in self._dashboards.values())
        return web.Response(text=f"<!doctype html><p>{NOTE}<ul>{items}</ul>", content_type="text/html")

    async def login(self, _request: web.Request) -> web.Response:
        """The page people are sent to; nobody can log in with it."""
        return web.Response(text=f"<!doctype html><p>{NOTE}", content_type="text/html")

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Beside the sub path: go below it. Below it: there is nothing."""
        if self._root and not request.path.startswith(f"{self._root}/"):
            beside = request.rel_url.raw_path_qs.removeprefix(self._root) or "/"
            return web.Response(
                status=301, headers={"Location": self._settings.root_url.rstrip("/") + beside}
            )
        return refusal(404, "Not found")


def serve(settings: Settings) -> None:
    """Run until told to stop; raises ProvisioningError or OSError where Grafana would not start."""
    api = Api(settings)
    print(f"STAND-IN for Grafana {VERSION} listening on {settings.port}", flush=True)
    web.run_app(api.application(), port=settings.port, access_log=None, print=None)
