"""Admin API and status API: what this project uses of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from . import SERVER, VERSION
from .balancer import Address
from .config import EMPTY_HASH, Config, parse
from .fields import InvalidError
from .healthcheck import Checker
from .metrics import NODE_ID
from .proxy import Gateway

LOG = logging.getLogger("kong.admin")
MAX_CONFIG_BYTES = 128 * 2**20
INVALID_DECLARATIVE_CONFIG = 14


def answer(status: int, body: dict[str, Any] | None = None) -> web.Response:
    """Return JSON, marked as a stand-in's."""
    if body is None:
        return web.Response(status=status, headers={"Server": SERVER})
    return web.json_response(body, status=status, headers={"Server": SERVER})


class Api:
    """Handlers of both listeners."""

    def __init__(self, gateway: Gateway) -> None:
        """Show and change `gateway`."""
        self._gateway = gateway
        self._draining = False

    def admin(self) -> web.Application:
        """Return the admin API. It has no password, as Kong's has none."""
        app = web.Application(client_max_size=MAX_CONFIG_BYTES)
        self._add_readable(app)
        app.router.add_get("/", self.root)
        app.router.add_get("/config", self.get_config)
        app.router.add_get("/upstreams", self.upstreams)
        app.router.add_post("/config", self.post_config)
        prefix = "/upstreams/{upstream}/targets/{target}"
        for path in (prefix, prefix + "/{address}"):
            app.router.add_put(f"{path}/healthy", self.set_healthy(True))
            app.router.add_put(f"{path}/unhealthy", self.set_healthy(False))
        for path in (
            "/upstreams/{upstream}/targets",
            prefix,
            "/upstreams/{upstream}",
            "/services",
            "/routes",
        ):
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                app.router.add_route(method, path, self.no_database)
        return app

    def status(self) -> web.Application:
        """Return the status API: nothing in it changes configuration."""
        app = web.Application()
        self._add_readable(app)
        app.router.add_get("/status/ready", self.ready)
        app.router.add_post("/status/ready", self.drain)
        app.router.add_get("/metrics", self.metrics)
        return app

    def _add_readable(self, app: web.Application) -> None:
        app.middlewares.append(web.normalize_path_middleware(append_slash=False, remove_slash=True))
        app.middlewares.append(not_found)
        app.router.add_get("/status", self.node_status)
        app.router.add_get("/upstreams/{upstream}/health", self.upstream_health)
        app.router.add_get("/upstreams/{upstream}/targets", self.targets)
        app.router.add_get("/upstreams/{upstream}/targets/all", self.targets)

    @property
    def _config(self) -> Config:
        return self._gateway.now.config

    def _checker(self, request: web.Request) -> Checker:
        wanted = request.match_info["upstream"]
        for checker in self._gateway.now.checkers.values():
            if wanted in (checker.upstream.name, checker.upstream.id):
                return checker
        raise web.HTTPNotFound

    async def root(self, _request: web.Request) -> web.Response:
        """The node."""
        return answer(200, {"version": VERSION, "node_id": NODE_ID, "tagline": "STAND-IN for Kong"})

    async def node_status(self, _request: web.Request) -> web.Response:
        """Connections and the hash of the configuration."""
        server = {
            "connections_active": self._gateway.under_way,
            "total_requests": self._gateway.metrics.requests_total,
        }
        return answer(200, {"server": server, "configuration_hash": self._config.hash})

    async def ready(self, _request: web.Request) -> web.Response:
        """503 while draining, and with nothing configured."""
        if self._draining:
            return answer(503, {"message": "draining"})
        if self._config.hash == EMPTY_HASH:
            return answer(503, {"message": "no configuration available (empty configuration present)"})
        return answer(200, {"message": "ready"})

    async def drain(self, request: web.Request) -> web.Response:
        """Turn readiness off for good."""
        form = await request.post() if "json" not in request.content_type else await request.json()
        if form.get("status") != "draining":
            return answer(400, {"message": "invalid status"})
        self._draining = True
        return answer(204)

    async def metrics(self, _request: web.Request) -> web.Response:
        """The prometheus plugin's page, if the plugin is configured."""
        configs = [plugin.config for plugin in self._config.plugins if plugin.name == "prometheus"]
        if not configs:
            return answer(404, {"message": "Not found"})
        page = self._gateway.metrics.page(
            configs, self._gateway.now.checkers.values(), self._gateway.under_way
        )
        return web.Response(text=page, headers={"Server": SERVER})

    async def upstreams(self, _request: web.Request) -> web.Response:
        """Names of all upstreams, on one page."""
        found = [{"id": one.id, "name": one.name} for one in self._config.upstreams.values()]
        return answer(200, {"data": found, "next": None})

    async def upstream_health(self, request: web.Request) -> web.Response:
        """Health of each target, or of the whole upstream."""
        checker = self._checker(request)
        if request.query.get("balancer_health") == "1":
            state = "HEALTHY" if checker.wheel.healthy else "UNHEALTHY"
            health = state if checker.enabled else "HEALTHCHECKS_OFF"
            data: Any = {"id": checker.upstream.id, "health": health, "balancer_health": state}
        else:
            data = [target_view(checker, address, health=True) for address in checker.wheel.addresses]
        return answer(200, {"data": data, "next": None, "node_id": NODE_ID})

    async def targets(self, request: web.Request) -> web.Response:
        """The targets as configured."""
        checker = self._checker(request)
        data = [target_view(checker, address, health=False) for address in checker.wheel.addresses]
        return answer(200, {"data": data, "next": None})

    def set_healthy(self, healthy: bool) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Return a handler that changes a target's health by hand, in memory."""

        async def handler(request: web.Request) -> web.Response:
            checker, wanted = self._checker(request), request.match_info["target"]
            for address in checker.wheel.addresses:
                if wanted in (address.key, address.target.id):
                    if not checker.enabled:
                        name = checker.upstream.name
                        return answer(400, {"message": f"no healthchecker found for {name}"})
                    checker.set_health(address, healthy=healthy)
                    return answer(204)
            raise web.HTTPNotFound

        return handler

    async def no_database(self, request: web.Request) -> web.Response:
        """Entities only change by loading a whole file."""
        kind = "targets" if "targets" in request.path else request.path.strip("/").partition("/")[0]
        verb = {"PATCH": "update", "DELETE": "remove"}.get(request.method, "create")
        message = f"cannot {verb} '{kind}' entities when not using a database"
        return answer(405, {"code": 12, "name": "operation unsupported", "message": message})

    async def get_config(self, _request: web.Request) -> web.Response:
        """What this stand-in can tell of its configuration: its hash."""
        return answer(200, {"config": None, "configuration_hash": self._config.hash})

    async def post_config(self, request: web.Request) -> web.Response:
        """Check a configuration and change to it; a bad one leaves the old in place."""
        text = await config_text(request)
        if text is None:
            return answer(400, {"message": "expected a declarative configuration"})
        try:
            config = parse(text, self._gateway.settings.plugins)
        except InvalidError as invalid:
            fields = {problem.path: problem.message for problem in invalid.problems}
            return answer(
                400,
                {
                    "code": INVALID_DECLARATIVE_CONFIG,
                    "name": "invalid declarative configuration",
                    "message": f"declarative config is invalid: {json.dumps(fields)}",
                    "fields": fields,
                },
            )
        if request.query.get("check_hash") == "1" and config.hash == self._config.hash:
            return answer(304)
        self._gateway.load(config)
        LOG.warning("loaded configuration %s", config.hash)
        return answer(
            201,
            {
                "services": {s.id: {"name": s.name} for s in config.services.values()},
                "routes": {r.id: {"name": r.name} for r in config.routes},
                "upstreams": {u.id: {"name": u.name} for u in config.upstreams.values()},
            },
        )


async def config_text(request: web.Request) -> str | None:
    """Return the configuration in a request: the body itself, or its member `config`."""
    if request.content_type in ("multipart/form-data", "application/x-www-form-urlencoded"):
        value = (await request.post()).get("config")
        if isinstance(value, web.FileField):
            return value.file.read().decode()
        return str(value) if value else None
    text = await request.text()
    if request.content_type == "application/json":
        try:
            tree = json.loads(text)
        except ValueError:
            return text
        if isinstance(tree, dict) and isinstance(tree.get("config"), str):
            return str(tree["config"])
    return text or None


def target_view(checker: Checker, address: Address, *, health: bool) -> dict[str, Any]:
    """Return a target as the API shows it."""
    target, state = address.target, checker.state(address)
    view: dict[str, Any] = {
        "id": target.id,
        "target": target.name,
        "weight": target.weight,
        "upstream": {"id": checker.upstream.id},
        "tags": list(target.tags) or None,
    }
    if not health:
        return view
    shown = {"ip": target.host, "port": target.port, "weight": target.weight, "health": state}
    weight = {"total": target.weight, "available": target.weight * address.available}
    return {
        **view,
        "health": state,
        "data": {
            "host": target.host,
            "port": target.port,
            "addresses": [shown],
            "weight": {**weight, "unavailable": target.weight - weight["available"]},
        },
    }


@web.middleware
async def not_found(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer what is not there, and what is not allowed, in Kong's words."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return answer(404, {"message": "Not found"})
    except web.HTTPMethodNotAllowed:
        return answer(405, {"message": "Method not allowed"})
