"""The HTTP interface: the endpoints this project uses, with Grafana's status codes and words."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from . import VERSION, pages
from .provisioning import Dashboard, Datasource, Library, read_datasources, read_providers
from .settings import Settings
from .store import Store

COOKIE = "grafana_session"
# What Grafana lets through to a Prometheus by POST, whoever asks.
POSTS = ("api/v1/query", "api/v1/query_range", "api/v1/series", "api/v1/labels", "api/v1/query_exemplars")
PASSED_ON = ("Content-Type", "Accept")
RANKS = {"Viewer": 0, "Editor": 1, "Admin": 2}


@dataclass(frozen=True)
class Person:
    """Who asks; `login` is empty for a visitor without one."""

    login: str
    role: str


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PersonalHandler = Callable[[web.Request, Person], Awaitable[web.StreamResponse]]


def refusal(status: int, message: str, **more: object) -> web.Response:
    """Return an error as Grafana does."""
    return web.json_response({"message": message, **more}, status=status)


class Api:
    """One method per endpoint."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        """Provision everything; raises ProvisioningError or OSError as Grafana ends its start."""
        self._settings = settings
        self._datasources = {
            one.uid: one for one in read_datasources(settings.provisioning / "datasources", environment)
        }
        self._library = Library(read_providers(settings.provisioning / "dashboards", environment))
        self._store = Store(settings.data)
        self._store.begin(settings.admin_user, settings.admin_password)
        self._sessions: dict[str, str] = {}
        self._root = settings.sub_path

    def application(self) -> web.Application:
        """Return the application with all routes; what is beside the sub path is sent below it."""
        app = web.Application(client_max_size=1 << 20)
        for method, path, handler in (
            ("GET", "/api/health", self.health),
            ("GET", "/healthz", self.alive),
            ("GET", "/login", self.login_form),
            ("POST", "/login", self.login),
            ("GET", "/logout", self.logout),
            ("GET", "/api/user", self._for("", self.user)),
            ("GET", "/api/org", self._for("Viewer", self.org)),
            ("GET", "/api/search", self._for("Viewer", self.search)),
            ("GET", "/api/dashboards/home", self._for("Viewer", self.home_dashboard)),
            ("GET", "/api/dashboards/uid/{uid}", self._for("Viewer", self.dashboard)),
            ("GET", "/api/datasources", self._for("Admin", self.datasources)),
            ("GET", "/api/datasources/uid/{uid}", self._for("Admin", self.datasource)),
            ("GET", "/api/datasources/uid/{uid}/health", self._for("Viewer", self.datasource_health)),
            ("*", "/api/datasources/proxy/uid/{uid}/{path:.*}", self._for("Viewer", self.proxy)),
            ("GET", "/", self._page(self.home)),
            ("GET", "/dashboards", self._page(self.list_dashboards)),
            ("GET", "/d/{uid}", self._page(self.show_dashboard)),
            ("GET", "/d/{uid}/{slug}", self._page(self.show_dashboard)),
        ):
            app.router.add_route(method, self._root + path, handler)
        app.router.add_route("*", "/{path:.*}", self.elsewhere)
        return app

    # ------------------------------------------------------------ who asks

    async def _person(self, request: web.Request) -> Person | None:
        """Who asks, by basic auth, session or as a visitor; None where that is nobody.

        A wrong password is refused, visitors welcome or not.
        """
        header = request.headers.get("Authorization", "")
        if header.startswith("Basic ") and self._settings.basic_auth:
            try:
                user, _, password = base64.b64decode(header[6:], validate=True).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                return None
            right = await asyncio.to_thread(self._store.opens, user, password)
            return Person(user, "Admin") if right else None
        if login := self._sessions.get(request.cookies.get(COOKIE, "")):
            return Person(login, "Admin")
        role = self._settings.anonymous_role
        return Person("", role) if role else None

    def _for(self, role: str, handler: PersonalHandler) -> Handler:
        """Return the handler for people of at least this role; "" is everybody with a login."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            person = await self._person(request)
            if person is None:
                wrong = "Authorization" in request.headers
                words = "Invalid username or password" if wrong else "Unauthorized"
                return refusal(
                    401, words, messageId="session.token.missing" if not wrong else "password-auth.failed"
                )
            if not role and not person.login:
                return refusal(401, "Unauthorized")
            if role and RANKS[person.role] < RANKS[role]:
                return refusal(
                    403, "You'll need additional permissions to perform this action.", title="Access denied"
                )
            return await handler(request, person)

        return guarded

    def _page(self, handler: PersonalHandler) -> Handler:
        """Return the handler for people who may look; others are sent to the form."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            person = await self._person(request)
            if person is None:
                return web.Response(status=302, headers={"Location": f"{self._root}/login"})
            return await handler(request, person)

        return guarded

    async def login_form(self, _request: web.Request) -> web.Response:
        """The form, unless it is switched off."""
        if not self._settings.login_form:
            return web.Response(
                text=pages.page("Log in", self._root, "<p>Nobody can log in here.</p>"),
                content_type="text/html",
            )
        return web.Response(text=pages.login_page(self._root, ""), content_type="text/html")

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Begin a session, from a form or from JSON."""
        as_json = request.content_type == "application/json"
        try:
            given: Any = await request.json() if as_json else await request.post()
        except ValueError:
            return refusal(400, "bad login data")
        if not self._settings.login_form:
            return refusal(401, "Login is disabled", messageId="password-auth.disabled")
        user, password = str(given.get("user", "")), str(given.get("password", ""))
        if not await asyncio.to_thread(self._store.opens, user, password):
            words = "Invalid username or password"
            if as_json:
                return refusal(401, words, messageId="password-auth.failed")
            return web.Response(
                status=401, text=pages.login_page(self._root, words), content_type="text/html"
            )
        token = secrets.token_hex(16)
        self._sessions[token] = user
        response: web.Response = web.json_response({"message": "Logged in", "redirectUrl": f"{self._root}/"})
        if not as_json:
            response = web.Response(status=302, headers={"Location": f"{self._root}/"})
        response.set_cookie(COOKIE, token, path=self._root or "/", httponly=True, samesite="Lax")
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """End the session."""
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        response = web.Response(status=302, headers={"Location": f"{self._root}/login"})
        response.del_cookie(COOKIE, path=self._root or "/")
        return response

    async def user(self, _request: web.Request, person: Person) -> web.Response:
        """Who is logged in."""
        return web.json_response(
            {"id": 1, "login": person.login, "name": person.login, "orgId": 1, "isGrafanaAdmin": True}
        )

    async def org(self, _request: web.Request, _person: Person) -> web.Response:
        """The one organisation."""
        return web.json_response({"id": 1, "name": "Main Org."})

    # ------------------------------------------------------------ health

    async def health(self, _request: web.Request) -> web.Response:
        """Whether the database can be read."""
        healthy = await asyncio.to_thread(self._store.healthy)
        told = {"database": "ok" if healthy else "failing"}
        if not self._settings.hide_version:
            told |= {"version": VERSION, "commit": "stand-in"}
        return web.json_response(told, status=200 if healthy else 503)

    async def alive(self, _request: web.Request) -> web.Response:
        """Whether the web server runs."""
        return web.Response(text="Ok")

    # ------------------------------------------------------------ dashboards

    async def search(self, request: web.Request, _person: Person) -> web.Response:
        """Dashboards whose title holds `query` and that bear every `tag`."""
        words = request.query.get("query", "").lower()
        tags = set(request.query.getall("tag", []))
        if request.query.get("type", "dash-db") != "dash-db":
            return web.json_response([])
        found = [
            {
                "id": number,
                "uid": one.uid,
                "title": one.title,
                "uri": f"db/{one.slug}",
                "url": f"{self._root}/d/{one.uid}/{one.slug}",
                "slug": "",
                "type": "dash-db",
                "tags": one.model.get("tags", []),
                "isStarred": False,
                "sortMeta": 0,
            }
            for number, one in enumerate(self._library.all(), 1)
            if words in one.title.lower() and tags <= set(one.model.get("tags", []))
        ]
        return web.json_response(found[: int(request.query.get("limit", "1000"))])

    async def dashboard(self, request: web.Request, _person: Person) -> web.Response:
        """A dashboard with what Grafana knows of it."""
        found = self._library.get(request.match_info["uid"])
        if found is None:
            return refusal(404, "Dashboard not found")
        return web.json_response({"meta": self._meta(found), "dashboard": dict(found.model)})

    def _meta(self, found: Dashboard) -> dict[str, Any]:
        return {
            "type": "db",
            "slug": found.slug,
            "url": f"{self._root}/d/{found.uid}/{found.slug}",
            "folderTitle": found.provider.folder or "General",
            "provisioned": not found.provider.editable,
            "provisionedExternalId": str(found.path.relative_to(found.provider.path)),
            "canSave": False,
            "canEdit": False,
        }

    async def home_dashboard(self, _request: web.Request, _person: Person) -> web.Response:
        """The dashboard people see first."""
        home = self._home()
        if home is None:
            return refusal(404, "Home dashboard not found")
        return web.json_response({"meta": {"isHome": True, "canSave": False}, "dashboard": home})

    def _home(self) -> dict[str, Any] | None:
        """The home dashboard's model, or None. Raises OSError or ValueError for a file that is none."""
        path = self._settings.home_dashboard
        return dict(json.loads(path.read_text())) if path else None

    # ------------------------------------------------------------ data sources

    def _shown(self, one: Datasource) -> dict[str, Any]:
        return {
            "id": one.identifier,
            "uid": one.uid,
            "orgId": 1,
            "name": one.name,
            "type": one.kind,
            "access": "proxy",
            "url": one.url,
            "isDefault": one.default,
            "jsonData": dict(one.json_data),
            "readOnly": one.read_only,
        }

    async def datasources(self, _request: web.Request, _person: Person) -> web.Response:
        """All data sources, by name."""
        ordered = sorted(self._datasources.values(), key=lambda one: one.name)
        return web.json_response([self._shown(one) for one in ordered])

    async def datasource(self, request: web.Request, _person: Person) -> web.Response:
        """One data source."""
        found = self._datasources.get(request.match_info["uid"])
        return web.json_response(self._shown(found)) if found else refusal(404, "Data source not found")

    async def datasource_health(self, request: web.Request, _person: Person) -> web.Response:
        """What Grafana's own check of a Prometheus says; other kinds have none here."""
        found = self._datasources.get(request.match_info["uid"])
        if found is None:
            return refusal(404, "Data source not found")
        if found.kind != "prometheus":
            return refusal(404, "Plugin not found")
        try:
            status, body, _ = await self._ask(found, "GET", "api/v1/query?query=1%2B1", b"", {})
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            return web.json_response({"message": str(error) or "timed out", "status": "ERROR"}, status=400)
        if status != web.HTTPOk.status_code:
            words = f"{status} - {body.decode(errors='replace')[:200]}"
            return web.json_response({"message": words, "status": "ERROR"}, status=400)
        return web.json_response({"message": "Successfully queried the Prometheus API.", "status": "OK"})

    async def proxy(self, request: web.Request, _person: Person) -> web.Response:
        """Pass a question on to a data source, without the asker's login."""
        found = self._datasources.get(request.match_info["uid"])
        if found is None:
            return refusal(404, "Unable to find datasource")
        path = request.match_info["path"]
        harmless = request.method in ("GET", "HEAD") or (request.method == "POST" and path in POSTS)
        if found.kind == "prometheus" and not harmless:
            words = f"non allow-listed {request.method}s not allowed on proxied Prometheus datasource"
            return refusal(403, words)
        target = f"{path}?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else path
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            status, body, kind = await self._ask(found, request.method, target, await request.read(), headers)
        except (OSError, aiohttp.ClientError) as error:
            print(f'logger=data-proxy-log level=error msg="Proxy request failed" err="{error}"', flush=True)
            return refusal(502, "Bad Gateway")
        except TimeoutError:
            return refusal(504, "Gateway Timeout")
        return web.Response(status=status, body=body, headers={"Content-Type": kind})

    async def _ask(
        self, source: Datasource, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes, str]:
        timeout = aiohttp.ClientTimeout(total=self._settings.proxy_timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, f"{source.url}/{target}", data=body or None, headers=headers) as answer,
        ):
            return answer.status, await answer.read(), answer.headers.get("Content-Type", "text/plain")

    # ------------------------------------------------------------ pages

    async def home(self, _request: web.Request, _person: Person) -> web.Response:
        """The home dashboard, or the list."""
        home = self._home()
        shown = (
            pages.listing(self._library.all(), self._root)
            if home is None
            else pages.dashboard_page(home, self._root)
        )
        return web.Response(text=shown, content_type="text/html")

    async def list_dashboards(self, _request: web.Request, _person: Person) -> web.Response:
        """All dashboards."""
        return web.Response(text=pages.listing(self._library.all(), self._root), content_type="text/html")

    async def show_dashboard(self, request: web.Request, _person: Person) -> web.Response:
        """One dashboard."""
        found = self._library.get(request.match_info["uid"])
        if found is None:
            missing = pages.page("Dashboard not found", self._root, "")
            return web.Response(status=404, text=missing, content_type="text/html")
        return web.Response(text=pages.dashboard_page(found.model, self._root), content_type="text/html")

    async def elsewhere(self, request: web.Request) -> web.Response:
        """Beside the sub path: go below it. Below it: there is nothing."""
        if self._root and request.path == self._root:
            return web.Response(status=301, headers={"Location": f"{self._root}/"})
        if self._root and not request.path.startswith(self._root):
            there = self._settings.root_url.rstrip("/") + request.rel_url.raw_path_qs
            return web.Response(status=301, headers={"Location": there})
        return refusal(404, "Not found")


def serve(settings: Settings) -> None:
    """Run until told to stop; raises ProvisioningError or OSError where Grafana would not start."""
    api = Api(settings, os.environ)
    print(f"STAND-IN for Grafana {VERSION} listening on {settings.address}:{settings.port}", flush=True)
    web.run_app(api.application(), host=settings.address, port=settings.port, access_log=None, print=None)
