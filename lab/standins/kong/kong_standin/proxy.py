"""A request through the gateway: phases, tries, and the answer passed on as it comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from ipaddress import ip_address
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from . import SERVER, VERSION, plugins
from .access_log import log_line, log_pattern
from .balancer import NoPeerError
from .config import Config
from .exchange import Exchange, ExitError, PluginError, Try
from .healthcheck import Checker
from .http_log import HttpLog
from .lua_functions import Functions
from .metrics import Metrics
from .plugins import Lookup, Tools
from .rate_limiting import RateLimits
from .router import Router, upstream_path
from .settings import Settings
from .tunnel import WEBSOCKET, tunnel
from .upstream import SWITCHING, Answer, Outgoing, Timeouts, UpstreamError, send

LOG = logging.getLogger("kong.proxy")
# What nginx does not send twice once the address may have seen it.
NON_IDEMPOTENT = ("POST", "LOCK", "PATCH")
HOP_BY_HOP = (
    "connection", "keep-alive", "proxy-connection", "proxy", "te", "trailer", "transfer-encoding", "upgrade",
)  # fmt: skip
# A buffered answer reaches the client in pieces of this size, as with nginx's buffers.
BUFFER_BYTES = 8 * 1024
CLIENT_GONE, GATEWAY_TIMEOUT = 499, 504
DEFAULT_PORT = 80


class Generation:
    """All that follows from one configuration."""

    def __init__(self, config: Config, settings: Settings, earlier: Generation | None = None) -> None:
        """Build router, balancers and plugins; targets that stay keep their health."""
        self.config = config
        self.router = Router(config.routes)
        self.lookup = Lookup(config.plugins)
        self.functions = Functions(sandboxed=settings.sandboxed, requires=settings.sandbox_requires)
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


async def receive_body(exchange: Exchange, request: web.BaseRequest) -> None:
    """Read the body, once and as late as nginx: a client that is refused is not waited for."""
    if request.content.at_eof():
        return
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    exchange.receive(await request.content.read())


class Gateway:
    """Serves requests with the configuration of the moment; those under way keep theirs."""

    def __init__(self, settings: Settings, config: Config) -> None:
        """Serve `config`; `start` begins to probe."""
        self.settings, self.metrics = settings, Metrics()
        self._limits, self._http_log = RateLimits(), HttpLog()
        self.now = Generation(config, settings)
        self.under_way = 0
        self._log_path, self._pattern, self._as_json = log_pattern(settings.access_log, settings.log_format)

    def load(self, config: Config) -> None:
        """Change to another configuration."""
        earlier, self.now = self.now, Generation(config, self.settings, self.now)
        earlier.stop()
        self.now.start()

    def stop(self) -> None:
        """End all work in the background."""
        self.now.stop()
        self._http_log.stop()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        now = self.now
        exchange = self._arrived(request)

        async def read_body() -> None:
            await receive_body(exchange, request)

        tools = Tools(now.config, now.functions, self._limits, self.metrics, self._http_log, read_body)
        self.under_way += 1
        self.metrics.requests_total += 1
        try:
            await self._prepare(exchange, now, tools)
            if not exchange.status:
                return await self._proxy(exchange, request, now, tools)
            return await self._own_answer(exchange, request, tools)
        except (asyncio.CancelledError, ConnectionError):
            # Hanging up is how a WebSocket ends.
            exchange.status = SWITCHING if exchange.status == SWITCHING else CLIENT_GONE
            raise
        finally:
            self.under_way -= 1
            self._finish(exchange, now, tools)

    def _arrived(self, request: web.BaseRequest) -> Exchange:
        path, _, query = request.raw_path.partition("?")
        remote = request.remote or ""
        return Exchange(
            method=request.method,
            path=path,
            query=query,
            headers=CIMultiDict(request.headers),
            host=request.headers.get("Host", ""),
            remote_addr=remote,
            client_ip=self._client_ip(remote, request.headers.getall(self.settings.real_ip_header, [])),
            version=f"{request.version.major}.{request.version.minor}",
        )

    def _trusted(self, address: str) -> bool:
        try:
            return any(ip_address(address) in network for network in self.settings.trusted_ips)
        except ValueError:
            return False

    def _client_ip(self, remote: str, headers: list[str]) -> str:
        """Return who really asked: the last address in the header that no trusted proxy has."""
        hops = [hop.strip() for header in headers for hop in header.split(",")]
        found = remote
        while hops and self._trusted(found):
            found = hops.pop()
            if not self.settings.real_ip_recursive:
                break
        return found

    async def _prepare(self, exchange: Exchange, now: Generation, tools: Tools) -> None:
        """Find route and target and run the access phase; an answer set by then is the answer."""
        try:
            await plugins.rewrite(exchange, now.lookup, tools)
            if self._routed(exchange, now):
                await self._access(exchange, now, tools)
        except ExitError:
            return
        except PluginError as problem:
            self._failed(exchange, problem)

    def _failed(self, exchange: Exchange, problem: PluginError) -> None:
        LOG.error("%s", problem)
        exchange.fail(500, source="error")

    def _routed(self, exchange: Exchange, now: Generation) -> bool:
        match = now.router.match(exchange.method, exchange.path, exchange.host, exchange.headers)
        if match is None:
            exchange.fail(404, "no Route matched with those values")
            return False
        exchange.route = route = match.route
        exchange.service = service = route.service if route.service and route.service.enabled else None
        trusted = self._trusted(exchange.remote_addr)
        scheme = exchange.headers.get("X-Forwarded-Proto", "http") if trusted else "http"
        if "http" not in route.protocols and scheme != "https":
            upgrade = {"Connection": "Upgrade", "Upgrade": "TLS/1.2, HTTP/1.1"}
            exchange.fail(426, "Please use HTTPS protocol", upgrade)
            return False
        exchange.values["upstreams"] = now.checkers
        exchange.out_path = upstream_path(
            service.path if service else None, exchange.path, match.prefix, strip=route.strip_path
        )
        if service:
            exchange.target_host, exchange.target_port = service.host, service.port
            exchange.retries = service.retries
            exchange.timeouts_ms = (service.connect_timeout, service.write_timeout, service.read_timeout)
        return True

    async def _access(self, exchange: Exchange, now: Generation, tools: Tools) -> None:
        service = exchange.service.name if exchange.service else None
        route = exchange.route.name if exchange.route else None
        exited: Exception | None = None
        for name in plugins.ORDER:
            plugin = now.lookup.find(name, service, route, plugins.name_of(exchange.consumer))
            if plugin is None:
                continue
            # After an answer the rest only joins for the later phases.
            exchange.plugins.append(plugin)
            if exited is None:
                try:
                    await plugins.access(exchange, plugin, tools)
                except (ExitError, PluginError) as ended:
                    exited = ended
        if exited:
            raise exited
        if not exchange.target_host:
            exchange.exit(503, "no Service found with those values")

    async def _own_answer(
        self, exchange: Exchange, request: web.BaseRequest, tools: Tools
    ) -> web.StreamResponse:
        self._header_filter(exchange, tools)
        headers = self._with_own_headers(exchange)
        # aiohttp frames the answer itself.
        headers.popall("Content-Length", None)
        response = web.Response(status=exchange.status, body=exchange.answer_body, headers=headers)
        await response.prepare(request)
        await response.write_eof()
        exchange.bytes_sent = len(exchange.answer_body)
        return response

    def _header_filter(self, exchange: Exchange, tools: Tools) -> None:
        try:
            for plugin in exchange.plugins:
                plugins.header_filter(exchange, plugin, tools)
        except (ExitError, PluginError) as problem:
            LOG.error("header_filter: %s", problem)

    def _with_own_headers(self, exchange: Exchange) -> CIMultiDict[str]:
        headers, shown = exchange.answer_headers, self.settings.headers
        spent = (time.monotonic() - exchange.started) * 1000
        waited = exchange.tries[-1].header_seconds * 1000 if exchange.tries else 0.0
        if "latency_tokens" in shown and exchange.source == "service":
            headers["X-Kong-Upstream-Latency"] = f"{waited:.0f}"
            headers["X-Kong-Proxy-Latency"] = f"{max(0.0, spent - waited):.0f}"
        elif "latency_tokens" in shown:
            headers["X-Kong-Response-Latency"] = f"{spent:.0f}"
        if "X-Kong-Request-Id" in shown:
            headers["X-Kong-Request-Id"] = exchange.id
        if exchange.source == "service" and "server_tokens" in shown:
            headers.add("Via", f"1.1 kong/{VERSION}")
        # Always there, so that nobody takes this for Kong.
        headers.setdefault("Server", SERVER)
        return headers

    async def _proxy(
        self, exchange: Exchange, request: web.BaseRequest, now: Generation, tools: Tools
    ) -> web.StreamResponse:
        """Try addresses until one answers; a POST that may have been seen is not repeated."""
        await tools.read_body()
        exchange.proxied = True
        checker = now.checkers.get(exchange.target_host)
        for number in range(exchange.retries + 1):
            try:
                one = next_try(exchange, checker)
            except NoPeerError as nobody:
                if number == 0:
                    exchange.fail(503, str(nobody))
                else:
                    exchange.fail(503, source="error")
                break
            began = time.monotonic()
            streamed: list[web.StreamResponse] = []
            try:
                outgoing = self._outgoing(exchange, one, checker)
                async with send(one.ip, one.port, outgoing, timeouts_of(exchange, self.settings)) as answer:
                    one.status, one.connect_seconds = answer.status, answer.connect_s
                    one.header_seconds = time.monotonic() - began
                    return await self._pass_on(exchange, request, answer, tools, streamed)
            except UpstreamError as problem:
                LOG.error("%s, upstream: %s:%s, request: %s", problem, one.ip, one.port, exchange.path)
                if streamed:
                    return cut_off(request, streamed[0])
                one.state, one.code = "failed", problem.code
                seen = problem.sent and exchange.out_method in NON_IDEMPOTENT
                if seen or not problem.repeatable or number == exchange.retries:
                    exchange.fail(problem.code, source="error")
                    break
                if checker and one.address:
                    report = (
                        checker.report_timeout
                        if problem.code == GATEWAY_TIMEOUT
                        else checker.report_tcp_failure
                    )
                    report(one.address)
            finally:
                one.seconds = time.monotonic() - began
        return await self._own_answer(exchange, request, tools)

    def _outgoing(self, exchange: Exchange, one: Try, checker: Checker | None) -> Outgoing:
        headers = CIMultiDict(exchange.out_headers)
        named = [name.strip().lower() for name in exchange.headers.get("Connection", "").split(",")]
        for name in (*HOP_BY_HOP, *named, "host", "content-length", "expect"):
            headers.popall(name, None)
        # A request given a body gets a length; one without keeps having none.
        if exchange.out_body or exchange.out_method in ("POST", "PUT", "PATCH"):
            headers["Content-Length"] = str(len(exchange.out_body))
        self._forwarded(exchange, headers)
        host = self._host(exchange, one, checker)
        target = quote(exchange.out_path, safe="/%:@!$&'()*+,;=~-._") or "/"
        if exchange.out_query:
            target += f"?{exchange.out_query}"
        upgrade = exchange.headers.get("Upgrade", "").lower() == WEBSOCKET
        connection = [("Connection", "keep-alive, Upgrade"), ("Upgrade", WEBSOCKET)]
        pairs = [("Host", host), *(connection if upgrade else [("Connection", "keep-alive")])]
        pairs += headers.items()
        return Outgoing(exchange.out_method, target, pairs, exchange.out_body, upgrade=upgrade)

    def _host(self, exchange: Exchange, one: Try, checker: Checker | None) -> str:
        if exchange.route and exchange.route.preserve_host:
            return exchange.host
        if checker and checker.upstream.host_header:
            return checker.upstream.host_header
        return one.ip if one.port == DEFAULT_PORT else f"{one.ip}:{one.port}"

    def _forwarded(self, exchange: Exchange, headers: CIMultiDict[str]) -> None:
        """Say for whom this is; only trusted clients may say it themselves."""
        given = exchange.headers if self._trusted(exchange.remote_addr) else CIMultiDict[str]()
        host, _, port = exchange.host.partition(":")
        earlier = exchange.headers.get("X-Forwarded-For")
        chain = f"{earlier}, {exchange.remote_addr}" if earlier else exchange.client_ip
        own_port = str(self.settings.proxy.port) if self.settings.proxy else port
        headers["X-Forwarded-For"] = chain
        headers["X-Forwarded-Proto"] = given.get("X-Forwarded-Proto", "http")
        headers["X-Forwarded-Host"] = given.get("X-Forwarded-Host", host)
        headers["X-Forwarded-Port"] = given.get("X-Forwarded-Port", own_port)
        headers["X-Forwarded-Path"] = given.get("X-Forwarded-Path", exchange.path)
        headers["X-Real-IP"] = exchange.client_ip
        via = exchange.headers.get("Via")
        headers["Via"] = f"{via}, " * bool(via) + f"{exchange.version} kong/{VERSION}"
        if "X-Kong-Request-Id" in self.settings.headers_upstream:
            headers["X-Kong-Request-Id"] = exchange.id

    async def _pass_on(
        self,
        exchange: Exchange,
        request: web.BaseRequest,
        answer: Answer,
        tools: Tools,
        streamed: list[web.StreamResponse],
    ) -> web.StreamResponse:
        exchange.status, exchange.source = answer.status, "service"
        early = exchange.answer_headers
        exchange.answer_headers = CIMultiDict(
            (n, v) for n, v in answer.headers if n.lower() not in HOP_BY_HOP
        )
        exchange.answer_headers.update(early)
        if answer.status == SWITCHING:
            exchange.answer_headers.update({"Connection": "upgrade", "Upgrade": WEBSOCKET})
        self._header_filter(exchange, tools)
        response = web.StreamResponse(status=exchange.status, headers=self._with_own_headers(exchange))
        await response.prepare(request)
        streamed.append(response)
        exchange.first_byte = time.monotonic()
        if answer.status == SWITCHING:
            exchange.bytes_sent = await tunnel(request, answer.connection, exchange.timeouts_ms[2] / 1000)
            return cut_off(request, response)
        body = answer.body()
        if exchange.route and exchange.route.response_buffering:
            body = buffered(body)
        async for chunk in body:
            exchange.bytes_sent += len(chunk)
            await response.write(chunk)
        await response.write_eof()
        return response

    def _finish(self, exchange: Exchange, now: Generation, tools: Tools) -> None:
        """Run the log phase and tell the health checker how it ended."""
        last = exchange.tries[-1] if exchange.tries else None
        checker = now.checkers.get(exchange.target_host)
        if checker and last and last.address and (last.status or last.code):
            status = last.status or last.code or 0
            if status == GATEWAY_TIMEOUT:
                checker.report_timeout(last.address)
            else:
                checker.report_status(last.address, status)
        for plugin in exchange.plugins:
            try:
                plugins.log(exchange, plugin, tools)
            except (ExitError, PluginError) as problem:
                LOG.error("log: %s", problem)
        if self._log_path is not None:
            self._write_log(log_line(self._pattern, exchange, as_json=self._as_json))

    def _write_log(self, line: str) -> None:
        if str(self._log_path) == "/dev/stdout":
            print(line, flush=True)


def next_try(exchange: Exchange, checker: Checker | None) -> Try:
    """Return the next address: the wheel's, or the service's own host. Raises NoPeerError."""
    began = time.monotonic()
    address = checker.wheel.pick() if checker else None
    host = address.target.host if address else exchange.target_host
    port = address.target.port if address else exchange.target_port
    one = Try(host, port, address, balancer_latency_ms=int((time.monotonic() - began) * 1000))
    exchange.tries.append(one)
    return one


def timeouts_of(exchange: Exchange, settings: Settings) -> Timeouts:
    """Return the service's timeouts in seconds."""
    connect, write, read = (ms / 1000 for ms in exchange.timeouts_ms)
    return Timeouts(connect, write, read, settings.socket_keepalive)


async def buffered(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the same bytes in full buffers: what a stream looks like with response_buffering on."""
    kept = b""
    async for chunk in chunks:
        kept += chunk
        while len(kept) >= BUFFER_BYTES:
            yield kept[:BUFFER_BYTES]
            kept = kept[BUFFER_BYTES:]
    if kept:
        yield kept


def cut_off(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Close the connection: an answer that broke in the middle has no good end, a WebSocket no other."""
    if request.transport is not None:
        request.transport.close()
    return response
