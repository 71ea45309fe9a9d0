"""A request through the gateway: phases, tries, and the answer passed on as it comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from aiohttp import ClientResponse, ClientTimeout, web
from multidict import CIMultiDict

from . import SERVER, plugins
from .access_log import log_line
from .balancer import Checker, NoPeerError
from .config import Config, Plugin, Route
from .exchange import Exchange, ExitError, PluginError, Try
from .http_log import HttpLog
from .lua_functions import Functions
from .metrics import Metrics
from .rate_limiting import RateLimits
from .router import Router, upstream_path
from .settings import Settings
from .tunnel import WEBSOCKET, tunnel
from .upstream import SWITCHING, Outgoing, UpstreamError, body, send

LOG = logging.getLogger("kong.proxy")
HOP_BY_HOP = (
    "connection", "keep-alive", "proxy-connection", "proxy", "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
CLIENT_GONE = 499
Phase = Callable[[Exchange, Plugin, "Generation"], None]


class Generation:
    """All that follows from one configuration."""

    def __init__(self, config: Config, settings: Settings, earlier: Generation | None = None) -> None:
        """Build router and balancers; targets that stay keep their health."""
        self.config = config
        self.router = Router(config.routes)
        self.functions = Functions(settings.sandbox_requires)
        # What outlives a reload.
        self.metrics: Metrics = earlier.metrics if earlier else Metrics()
        self.limits: RateLimits = earlier.limits if earlier else RateLimits()
        self.http_log: HttpLog = earlier.http_log if earlier else HttpLog()
        self.checkers = {name: Checker(upstream) for name, upstream in config.upstreams.items()}
        for name, checker in self.checkers.items():
            if earlier and name in earlier.checkers:
                checker.keep(earlier.checkers[name])

    def start(self) -> None:
        """Begin to probe."""
        for checker in self.checkers.values():
            checker.start()

    def stop(self) -> None:
        """End all probes."""
        for checker in self.checkers.values():
            checker.stop()


class Gateway:
    """Serves requests with the configuration of the moment; those under way keep theirs."""

    def __init__(self, settings: Settings, config: Config) -> None:
        self.settings, self.now = settings, Generation(config, settings)
        self.under_way = 0

    def load(self, config: Config) -> None:
        """Change to another configuration."""
        earlier, self.now = self.now, Generation(config, self.settings, self.now)
        earlier.stop()
        self.now.start()

    def stop(self) -> None:
        """End all work in the background."""
        self.now.stop()
        self.now.http_log.stop()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        now, exchange = self.now, self._arrived(request)
        self.under_way += 1
        try:
            match = now.router.match(exchange.method, exchange.path)
            if match is None:
                exchange.fail(404, "no Route matched with those values")
            else:
                route, prefix = match
                exchange.route, exchange.upstream = route, route.service.host
                exchange.out_path = upstream_path(
                    route.service.path, exchange.path, prefix, strip=route.strip_path
                )
                await self._access(exchange, route, now)
                if not exchange.status:
                    await exchange.read_body()
                    return await self._proxy(exchange, route, request, now)
            return await self._own_answer(exchange, request, now)
        except (asyncio.CancelledError, ConnectionError):
            # Hanging up is how a WebSocket ends.
            exchange.status = SWITCHING if exchange.status == SWITCHING else CLIENT_GONE
            raise
        finally:
            self.under_way -= 1
            self._finish(exchange, now)

    def _arrived(self, request: web.BaseRequest) -> Exchange:
        path, _, query = request.raw_path.partition("?")
        return Exchange(
            method=request.method,
            path=path,
            query=query,
            headers=CIMultiDict(request.headers),
            client_ip=self._client_ip(request.remote or "", request.headers.getall("X-Forwarded-For", [])),
            request=request,
        )

    def _client_ip(self, remote: str, headers: list[str]) -> str:
        """Return who really asked: the last address in the header that no trusted proxy has."""
        hops, found = [hop.strip() for header in headers for hop in header.split(",")], remote
        with suppress(ValueError):
            while hops and any(ip_address(found) in network for network in self.settings.trusted_ips):
                found = hops.pop()
        return found

    async def _access(self, exchange: Exchange, route: Route, now: Generation) -> None:
        """Run the access phase; an answer set by then is the answer."""
        try:
            for plugin in route.plugins:
                # That of the consumer, who is known by now, counts before the route's.
                own = exchange.credential.plugins if exchange.credential else {}
                await plugins.access(exchange, own.get(plugin.name, plugin), now)
        except ExitError:
            pass
        except PluginError as problem:
            LOG.error("%s", problem)
            exchange.fail(500)

    async def _own_answer(
        self, exchange: Exchange, request: web.BaseRequest, now: Generation
    ) -> web.StreamResponse:
        headers = headers_of(exchange, now)
        run_phase(plugins.body_filter, exchange, now)
        # aiohttp frames the answer itself.
        headers.popall("Content-Length", None)
        response = web.Response(status=exchange.status, body=exchange.answer_body, headers=headers)
        await response.prepare(request)
        await response.write_eof()
        exchange.bytes_sent = len(exchange.answer_body)
        return response

    async def _proxy(
        self, exchange: Exchange, route: Route, request: web.BaseRequest, now: Generation
    ) -> web.StreamResponse:
        """Try addresses until one answers."""
        service, checker = route.service, now.checkers[exchange.upstream]
        times = exchange.timeouts or (service.connect_timeout, service.write_timeout, service.read_timeout)
        limits = ClientTimeout(sock_connect=times[0] / 1000, sock_read=times[2] / 1000)
        consumer = exchange.credential.consumer_id if exchange.credential and checker.upstream.hashed else ""
        for number in range(service.retries + 1):
            try:
                one = Try(checker.wheel.pick(consumer))
            except NoPeerError:
                exchange.fail(503, "" if exchange.tries else "failure to get a peer from the ring-balancer")
                break
            exchange.tries.append(one)
            began = time.monotonic()
            try:
                async with send(one, self._outgoing(exchange), limits) as answer:
                    return await self._pass_on(exchange, request, answer, now)
            except UpstreamError as problem:
                LOG.error("%s, upstream: %s, request: %s", problem, one.address.target.name, exchange.path)
                one.code = problem.code
                if not problem.repeatable or number == service.retries:
                    exchange.fail(problem.code)
                    break
                checker.report_failure(one.address, problem.kind)
            finally:
                one.seconds = time.monotonic() - began
        return await self._own_answer(exchange, request, now)

    def _outgoing(self, exchange: Exchange) -> Outgoing:
        headers = CIMultiDict(exchange.out_headers)
        named = [name.strip().lower() for name in exchange.headers.get("Connection", "").split(",")]
        for name in (*HOP_BY_HOP, *named, "host", "content-length", "expect"):
            headers.popall(name, None)
        headers["Connection"] = "keep-alive"
        if exchange.headers.get("Upgrade", "").lower() == WEBSOCKET:
            headers.update({"Connection": "keep-alive, Upgrade", "Upgrade": WEBSOCKET})
        path = exchange.out_path + (f"?{exchange.out_query}" if exchange.out_query else "")
        return Outgoing(exchange.out_method, path, headers, exchange.out_body)

    async def _pass_on(
        self, exchange: Exchange, request: web.BaseRequest, answer: ClientResponse, now: Generation
    ) -> web.StreamResponse:
        exchange.status, exchange.source = answer.status, "service"
        early = exchange.answer_headers
        exchange.answer_headers = CIMultiDict(
            (n, v) for n, v in answer.headers.items() if n.lower() not in HOP_BY_HOP
        )
        exchange.answer_headers.update(early)
        if answer.status == SWITCHING:
            exchange.answer_headers.update({"Connection": "upgrade", "Upgrade": WEBSOCKET})
        response = web.StreamResponse(status=exchange.status, headers=headers_of(exchange, now))
        await response.prepare(request)
        if answer.status == SWITCHING:
            exchange.bytes_sent = await tunnel(request, answer)
            return cut_off(request, response)
        exchange.last = False
        try:
            async for exchange.chunk in body(answer):
                await write(exchange, response, now)
        except UpstreamError as problem:
            LOG.error("%s in the middle of its answer, request: %s", problem, exchange.path)
            return cut_off(request, response)
        exchange.chunk, exchange.last = b"", True
        await write(exchange, response, now)
        await response.write_eof()
        return response

    def _finish(self, exchange: Exchange, now: Generation) -> None:
        """Run the log phase, and tell the health checker how it ended."""
        last = exchange.tries[-1] if exchange.tries else None
        if last and (status := last.status or last.code):
            now.checkers[exchange.upstream].report_answer(last.address, status)
        run_phase(plugins.log, exchange, now)
        print(log_line(self.settings.access_log, exchange), flush=True)


def run_phase(phase: Phase, exchange: Exchange, now: Generation) -> None:
    """Run a phase after access; a plugin that fails is told of in the log only."""
    for plugin in exchange.route.plugins if exchange.route else now.config.everywhere:
        try:
            phase(exchange, plugin, now)
        except PluginError as problem:
            LOG.error("%s: %s", plugin.name, problem)


def headers_of(exchange: Exchange, now: Generation) -> CIMultiDict[str]:
    """Return the answer's headers, after all plugins have seen them."""
    run_phase(plugins.header_filter, exchange, now)
    # Always there, so that nobody takes this for Kong.
    exchange.answer_headers.setdefault("Server", SERVER)
    return exchange.answer_headers


async def write(exchange: Exchange, response: web.StreamResponse, now: Generation) -> None:
    """Pass on what the plugins leave of a part of an answer."""
    run_phase(plugins.body_filter, exchange, now)
    # After the headers of an answer to HEAD nothing may follow, whatever a plugin says.
    if exchange.chunk and exchange.method != "HEAD":
        exchange.bytes_sent += len(exchange.chunk)
        await response.write(exchange.chunk)


def cut_off(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection: an answer that broke in the middle has no good end, a WebSocket no other."""
    if request.transport is not None:
        request.transport.close()
    return response
