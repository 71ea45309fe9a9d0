"""What Kong does with a request, pinned on its stand-in: tries, plugins, records. Nodes are real sockets."""

import asyncio
import json
import re
import socket
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
import standin_kong
from aiohttp import ClientPayloadError, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from standin_kong import KEY, KEYS, chat, kong, node, plugin, refusing, says, sends
from standins.kong.kong_standin import rate_limiting

PASSIVE = {"passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}}
BEHAVIOURS = {
    "hangs up": standin_kong.hangs_up,
    "is silent": standin_kong.is_silent,
    "talks nonsense": sends(b"nonsense\r\n\r\n"),
    "is busy": says(503),
}
# Only who waits in vain needs to be short of patience: a good node may be slow on a busy machine.
PATIENCE = {"is off": {"connect_timeout": 500}, "is silent": {"read_timeout": 1000}}


@pytest.fixture(autouse=True)
def one_minute(monkeypatch):
    """No minute ends within a test; metrics and logs measure by another clock."""
    now = time.time()
    monkeypatch.setattr(rate_limiting, "time", SimpleNamespace(time=lambda: now))
    return int(now)


@asynccontextmanager
async def bad_node(behaviour):
    """The address of a node that behaves badly."""
    async with AsyncExitStack() as stack:
        if behaviour == "refuses":
            yield refusing()
        elif behaviour == "is off":
            yield standin_kong.switched_off(stack.enter_context(ExitStack()))
        else:
            yield (await stack.enter_async_context(node(BEHAVIOURS[behaviour]))).address


def available(client):
    return [address.available for address in client.gateway.now.checkers["pool"].wheel.addresses]


async def until(what):
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)


# --- tries ---


@pytest.mark.parametrize(("behaviour", "method", "statuses"), [
    pytest.param("refuses", "POST", [200, 200], id="a refused POST goes on to the next node"),
    pytest.param("is off", "POST", [200, 200], id="a POST goes on after the connect timeout"),
    pytest.param("hangs up", "POST", [200, 502], id="a POST that was sent is not repeated"),
    pytest.param("hangs up", "GET", [200, 200], id="a GET that was sent is repeated"),
    pytest.param("is silent", "POST", [200, 504], id="a POST that timed out is not repeated"),
    pytest.param("is silent", "GET", [200, 200], id="a GET that timed out is repeated"),
    pytest.param("talks nonsense", "GET", [200, 502], id="nonsense is not repeated"),
    pytest.param("is busy", "GET", [200, 503], id="an answer is an answer, also 503"),
])  # fmt: skip
async def test_what_is_tried_again(behaviour, method, statuses):
    """Of two requests to a good and a bad node one meets the bad one first."""
    async with (
        bad_node(behaviour) as address,
        node() as good,
        kong(chat((address, 1), (good.address, 1), **PATIENCE.get(behaviour, {}))) as client,
    ):
        assert sorted([(await client.ask(method)).status for _ in range(2)]) == statuses


@pytest.mark.parametrize(("behaviour", "weights", "status", "message"), [
    pytest.param("refuses", [1], 502, "An invalid response was received", id="refused"),
    pytest.param("is off", [1], 504, "The upstream server is timing out", id="off"),
    pytest.param("refuses", [0], 503, "failure to get a peer from the ring-balancer", id="weight 0"),
])  # fmt: skip
async def test_when_no_node_answers_the_last_failure_is_the_answer(behaviour, weights, status, message):
    async with bad_node(behaviour) as address:
        tree = chat(*[(address, weight) for weight in weights], retries=2, **PATIENCE.get(behaviour, {}))
        async with kong(tree) as client:
            answer = await client.ask()
    assert answer.status == status
    assert json.loads(answer.body)["message"].startswith(message)


async def test_there_is_one_try_more_than_retries():
    async with node(standin_kong.hangs_up) as bad, kong(chat((bad.address, 1), retries=4)) as client:
        await client.ask("GET")
    assert len(bad.seen) == 5


@pytest.mark.parametrize(("behaviour", "others", "left"), [
    pytest.param("refuses", 1, [False, True], id="a refused connection takes the node out at once"),
    pytest.param("refuses", 0, [True], id="a refused last try counts as a 502, not as a refusal"),
    pytest.param("is silent", 0, [False], id="a last try that timed out counts"),
])  # fmt: skip
async def test_a_request_counts_against_the_health_of_its_node(behaviour, others, left):
    async with bad_node(behaviour) as address, node() as good:
        targets = [(address, 1), *[(good.address, 1)] * others]
        tree = chat(*targets, checks=PASSIVE, retries=others, **PATIENCE.get(behaviour, {}))
        async with kong(tree) as client:
            for _ in targets:
                await client.ask()
            assert available(client) == left


async def test_a_client_that_hangs_up_ends_the_request_on_the_node():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = sends(head, *([b'8\r\n{"a":1}\n\r\n'] * 1000), pause=0.02)
    async with node(endless) as one, kong(chat((one.address, 1), checks=PASSIVE)) as client:
        async with client.session.post(client.url + "/chat") as answer:
            await answer.content.readline()
            answer.close()
        await asyncio.wait_for(one.abandoned.wait(), 5)
        assert available(client) == [True]


async def test_a_node_that_breaks_in_mid_stream_cuts_the_answer_and_the_status_stays():
    short = sends(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
    async with (
        node(short) as one,
        kong(chat((one.address, 1))) as client,
        client.session.post(client.url + "/chat") as answer,
    ):
        with pytest.raises(ClientPayloadError):
            await answer.read()
    assert (answer.status, len(one.seen)) == (200, 1)


@pytest.mark.parametrize(("trusted", "client", "scheme"), [
    pytest.param("192.0.2.0/24", "127.0.0.1", "http", id="a stranger says it in vain"),
    pytest.param("127.0.0.0/8", "203.0.113.9", "https", id="a trusted proxy says who asks"),
])  # fmt: skip
async def test_the_node_sees_body_path_and_for_whom(trusted, client, scheme):
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "TE": "x", "A": "b"}
    async with node() as one, kong(chat((one.address, 1)), KONG_TRUSTED_IPS=trusted) as gateway:
        await gateway.ask(path="/chat?a=b%20c", data=b"\x00\xffbytes", headers=headers)
    assert one.seen == [("POST /?a=b%20c HTTP/1.1", b"\x00\xffbytes")]
    sent = dict(line.split(": ", 1) for line in one.heads[0].splitlines()[1:] if line)
    expected = {
        "Host": one.address, "A": "b", "X-Real-IP": client, "X-Forwarded-Path": "/chat",
        "X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": scheme,
    }  # fmt: skip
    assert sent | expected == sent
    assert "TE" not in sent


# --- plugins ---


async def ask(*plugins, requests=1, everywhere=(), **what):
    """Ask a gateway with these plugins; return the last answer, and what the node saw of it."""
    async with node() as one:
        tree = chat((one.address, 1), plugins=plugins, checks=PASSIVE) | KEYS
        async with kong(tree | {"plugins": list(everywhere)}) as client:
            for _ in range(requests):
                answer = await client.ask(**what)
    lines = [line.partition(": ") for line in (one.heads[-1] if one.heads else "").splitlines()[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    return answer, SimpleNamespace(headers=headers, count=len(one.seen))


@pytest.mark.parametrize(("what", "status", "message"), [
    pytest.param({}, 401, "No API key found in request", id="no key"),
    pytest.param({"headers": {"apikey": "wrong"}}, 401, "Unauthorized", id="an unknown key"),
    pytest.param({"headers": [("apikey", "a"), ("apikey", "b")]}, 401, "Duplicate API", id="two keys"),
    pytest.param({"path": "/chat?apikey=secret"}, 401, "No API key found", id="a key in the query"),
    pytest.param({"headers": {"Authorization": "Bearer secret"}}, 401, "Unauthorized", id="Bearer too"),
    pytest.param({"headers": {"Authorization": "secret"}}, 200, None, id="under its second name"),
])  # fmt: skip
async def test_a_key_is_asked_for(what, status, message):
    answer, seen = await ask(plugin("key-auth"), **what)
    assert (answer.status, seen.count) == (status, int(status == 200))
    if message:
        assert json.loads(answer.body)["message"].startswith(message)
        assert answer.headers["WWW-Authenticate"] == "Key"


async def test_the_node_sees_the_consumer_and_not_the_key_whatever_a_client_claims():
    claimed = {"X-Consumer-Username": "root", "X-Consumer-Custom-ID": "0", "X-Anonymous-Consumer": "true"}
    _, seen = await ask(plugin("key-auth"), headers=KEY | claimed)
    assert seen.headers["x-consumer-username"] == "me"
    assert not {"apikey", "x-consumer-custom-id", "x-anonymous-consumer"} & seen.headers.keys()


@pytest.mark.parametrize("given", ["mine", None], ids=["its own", "a new one"])
async def test_a_request_has_an_id_that_the_node_and_the_client_see(given):
    headers = {"X-Request-ID": given} if given else {}
    answer, seen = await ask(everywhere=[plugin("correlation-id")], headers=headers)
    assert re.fullmatch(given or r"[0-9a-f-]{36}", seen.headers["x-request-id"])
    assert answer.headers["X-Request-ID"] == seen.headers["x-request-id"]


@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413)], ids=["as much as allowed", "more"])
async def test_big_bodies_are_refused(more, status):
    answer, seen = await ask(
        plugin("request-size-limiting", allowed_payload_size=1), data=b"x" * (2**20 + more)
    )
    assert (answer.status, seen.count) == (status, int(status == 200))


@pytest.mark.parametrize(("requests", "status", "remaining"), [
    pytest.param(1, 200, "2", id="a request within the limit is told what remains"),
    pytest.param(4, 429, "0", id="a request beyond it is refused until the minute ends"),
])  # fmt: skip
async def test_requests_are_counted_by_the_minute(one_minute, requests, status, remaining):
    everywhere = [plugin("rate-limiting", minute=9)]  # the route's own counts
    answer, seen = await ask(plugin("rate-limiting", minute=3), requests=requests, everywhere=everywhere)
    reset = str(60 - one_minute % 60)
    names = ("RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Remaining-Minute", "RateLimit-Reset")
    assert (answer.status, seen.count) == (status, min(requests, 3))
    assert [answer.headers[name] for name in names] == ["3", remaining, remaining, reset]
    if status == 429:
        assert json.loads(answer.body)["message"] == "API rate limit exceeded"
        assert answer.headers["Retry-After"] == reset


def in_redis():
    host, _, port = refusing().partition(":")
    redis = {"host": host, "port": int(port), "timeout": 200}
    return plugin("rate-limiting", minute=1, policy="redis", redis=redis)


async def test_without_redis_requests_pass_uncounted():
    answer, seen = await ask(in_redis(), requests=2)
    assert (answer.status, seen.count) == (200, 2)
    assert "RateLimit-Limit" not in answer.headers


async def test_every_request_is_logged_with_its_tries_and_with_what_lua_adds(capsys):
    more = plugin("pre-function", log=["kong.log.set_serialize_value('llm.request', 'é')"])
    bad = refusing()
    async with node() as one, node() as collector:
        log = plugin("http-log", http_endpoint=f"http://{collector.address}/log", headers={"X-Log": "1"})
        async with kong(chat((bad, 1), (one.address, 1), plugins=[log, more])) as client:
            for _ in range(2):
                assert (await client.ask(headers={"Authorization": "Bearer secret"})).status == 200
            await until(lambda: len(collector.seen) == 2)
    assert "X-Log: 1\r\n" in collector.heads[0]
    records = [json.loads(body) for _, body in collector.seen]
    record = next(record for record in records if len(record["tries"]) == 2)
    assert [(t["state"], t["code"]) for t in record["tries"]] == [("failed", 502), (None, None)]
    assert "{ip}:{port}".format(**record["tries"][1]) == one.address
    assert record["response"]["status"] == 200
    assert record["request"]["headers"]["authorization"] == "REDACTED"
    assert record["llm"] == {"request": "é"}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"uri": "/chat", "tried": f"{bad}, {one.address}"} in lines


async def test_a_record_that_is_not_taken_is_sent_again_until_its_time_is_over():
    async with node() as one, node(says(503)) as collector:
        endpoint, queue = f"http://{collector.address}/log", {"max_retry_time": 1}
        log = plugin("http-log", http_endpoint=endpoint, queue=queue)
        async with kong(chat((one.address, 1), plugins=[log])) as client:
            for path in ("/chat/first", "/chat/second"):
                await client.ask(path=path)
            await until(lambda: {"/chat/first", "/chat/second"} == {*uris(collector)})
    assert uris(collector).count("/chat/first") > 1


def uris(collector):
    return [json.loads(body)["request"]["uri"] for _, body in collector.seen]


# --- WebSockets ---


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    async for message in ws:
        await ws.send_bytes(message.data)
    return ws


@asynccontextmanager
async def websockets(**service):
    """A gateway and a service behind it that echoes what it hears on `/ws`."""
    app = web.Application()
    app.router.add_get("/ws", echo)
    async with asyncio.timeout(20), TestServer(app) as server:
        tree = chat((f"127.0.0.1:{server.port}", 1), plugins=[plugin("key-auth")], path="/ws", **service)
        async with kong(tree | KEYS | {"plugins": [plugin("prometheus")]}) as client:
            yield client


async def test_bytes_of_any_size_pass_both_ways_and_who_hangs_up_counts_as_a_101():
    megabytes = bytes(range(250)) * 12_000
    async with websockets() as client:
        with pytest.raises(WSServerHandshakeError, match="401"):
            await client.session.ws_connect(client.url + "/chat")
        ws = await client.session.ws_connect(client.url + "/chat", headers=KEY, max_msg_size=0)
        for one in (b"", megabytes, b"again"):
            await ws.send_bytes(one)
            assert (await ws.receive()).data == one
        ws.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        await until(lambda: not client.gateway.under_way)
        metrics = (await client.status("/metrics")).body.decode().splitlines()
    counted = [line for line in metrics if "http_requests_total{" in line]
    assert sorted(re.findall(r'code="(\d+)"', " ".join(counted))) == ["101", "401"]


async def test_silence_ends_a_websocket_after_the_read_timeout_and_words_do_not():
    loop = asyncio.get_running_loop()
    async with (
        websockets(read_timeout=1000) as client,
        client.session.ws_connect(client.url + "/chat", headers=KEY, autoping=False) as ws,
    ):
        began = loop.time()
        for _ in range(4):
            await asyncio.sleep(0.3)
            await ws.send_bytes(b"still here")
            await ws.receive()
        talked = loop.time() - began
        ended = (await ws.receive()).type
        silent = loop.time() - began - talked
    assert talked > 1.1
    assert 0.9 < silent < 5
    assert ended in {WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR}
