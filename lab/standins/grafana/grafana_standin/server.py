"""The HTTP interface: the endpoints this project uses, with Grafana's status codes and words."""

from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp import BasicAuth, web

from .provisioning import read_dashboards, read_datasources
from .settings import Settings
from .store import USER, Store

PAGE = "<!doctype html><title>Grafana</title><p>This is a stand-in for Grafana: it draws nothing."
# What a visitor gets of an endpoint, and who does not sign in.
WELCOME = 200
REFUSALS = {401: "Unauthorized", 403: "You'll need additional permissions to perform this action."}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def refusal(status: int, message: str) -> web.Response:
    """Return an error as Grafana does."""
    return web.json_response({"message": message}, status=status)


class Api:
    """One method per endpoint."""

    def __init__(self, settings: Settings) -> None:
        """Provision everything; raises an error where Grafana ends its start."""
        self._settings = settings
        self._datasources = read_datasources(settings.provisioning / "datasources")
        self._dashboards = read_dashboards(settings.provisioning / "dashboards")
        self._store = Store(settings.data)
        self._store.begin(settings.admin_password)

    def application(self) -> web.Application:
        """Return the application with all routes, below the sub path."""
        app = web.Application()
        for path, handler in (
            ("/", self.page),
            ("/api/health", self.health),
            ("/api/user", self._for(401, self.user)),
            ("/api/search", self._for(WELCOME, self.search)),
            ("/api/dashboards/uid/{uid}", self._for(WELCOME, self.dashboard)),
            ("/api/datasources", self._for(403, self.datasources)),
            ("/api/datasources/proxy/uid/{uid}/{path:.*}", self._for(WELCOME, self.proxy)),
        ):
            app.router.add_route("GET", self._settings.sub_path + path, handler)
        return app

    def _status(self, request: web.Request, visitors: int) -> int:
        """Return what who asks gets, by basic auth; a wrong password is refused, visitors welcome or not."""
        if "Authorization" not in request.headers:
            return visitors if self._settings.visitors else 401
        try:
            given = BasicAuth.decode(request.headers["Authorization"], "utf-8")
        except ValueError:
            return 401
        return WELCOME if self._store.opens(given.login, given.password) else 401

    def _for(self, visitors: int, handler: Handler) -> Handler:
        """Return the handler for the administrator, and for visitors if they are welcome."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            status = self._status(request, visitors)
            return refusal(status, REFUSALS[status]) if status != WELCOME else await handler(request)

        return guarded

    async def page(self, _request: web.Request) -> web.Response:
        """The page a person opens."""
        return web.Response(text=PAGE, content_type="text/html")

    async def health(self, _request: web.Request) -> web.Response:
        """Whether it answers."""
        return web.json_response({"database": "ok"})

    async def user(self, _request: web.Request) -> web.Response:
        """The administrator."""
        return web.json_response({"id": 1, "login": USER, "orgId": 1, "isGrafanaAdmin": True})

    async def search(self, _request: web.Request) -> web.Response:
        """All dashboards."""
        return web.json_response(
            [{"uid": uid, "title": one["title"], "type": "dash-db"} for uid, one in self._dashboards.items()]
        )

    async def dashboard(self, request: web.Request) -> web.Response:
        """A dashboard as it stands in its file."""
        found = self._dashboards.get(request.match_info["uid"])
        return web.json_response({"dashboard": found}) if found else refusal(404, "Dashboard not found")

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
                session.get(f"{found['url'].rstrip('/')}/{asked}") as answer,
            ):
                kind = answer.headers.get("Content-Type", "text/plain")
                body = await answer.read()
                return web.Response(status=answer.status, body=body, headers={"Content-Type": kind})
        except TimeoutError:
            return refusal(504, "Gateway Timeout")
        except (OSError, aiohttp.ClientError) as error:
            print(f'logger=data-proxy-log level=error msg="Proxy request failed" err="{error}"', flush=True)
            return refusal(502, "Bad Gateway")


def serve(settings: Settings) -> None:
    """Run until told to stop; raises an error where Grafana would not start."""
    app = Api(settings).application()
    print(f"STAND-IN for Grafana listening on {settings.port}", flush=True)
    web.run_app(app, port=settings.port, access_log=None, print=None)
