"""The plugins of the stand-in for Kong answer, count and change as Kong's do."""

import asyncio
import json
import re
import time
from types import SimpleNamespace

import pytest
from standin_kong import KEY, KEYS, chat, kong, node, plugin, refusing, says
from standins.kong.kong_standin import rate_limiting

CHECKS = {"passive": {"unhealthy": {"tcp_failures": 1}}}
MINUTE = plugin("rate-limiting", minute=3)


@pytest.fixture(autouse=True)
def one_minute(monkeypatch):
    """No minute ends within a test; metrics and logs measure by another clock."""
    now = time.time()
    monkeypatch.setattr(rate_limiting, "time", SimpleNamespace(time=lambda: now))
    return int(now)


async def ask(*plugins, requests=1, everywhere=(), **what):
    """Ask a gateway with these plugins; return the last answer, what the node saw of it, and the metrics."""
    async with node() as one:
        tree = chat((one.address, 1), plugins=plugins, checks=CHECKS) | KEYS
        async with kong(tree | {"plugins": list(everywhere)}) as client:
            for _ in range(requests):
                answer = await client.ask(**what)
            metrics = (await client.status("/metrics")).body.decode().splitlines()
    lines = [line.partition(": ") for line in (one.heads[-1] if one.heads else "").splitlines()[1:]]
    headers = {name.lower(): value for name, _, value in lines}
    return answer, SimpleNamespace(headers=headers, count=len(one.seen), address=one.address, metrics=metrics)


@pytest.mark.parametrize(
    ("what", "status", "message"),
    [
        pytest.param({}, 401, "No API key found in request", id="no key"),
        pytest.param({"headers": {"apikey": ""}}, 401, "No API key found in request", id="an empty key"),
        pytest.param({"headers": {"apikey": "wrong"}}, 401, "Unauthorized", id="an unknown key"),
        pytest.param({"headers": [("apikey", "a"), ("apikey", "b")]}, 401, "Duplicate API", id="two keys"),
        pytest.param({"path": "/chat?apikey=secret"}, 401, "No API key found", id="a key in the query"),
        pytest.param({"headers": {"Authorization": "Bearer secret"}}, 401, "Unauthorized", id="Bearer too"),
        pytest.param({"headers": {"APIKey": "secret"}}, 200, None, id="a header of any case"),
        pytest.param({"headers": {"Authorization": "secret"}}, 200, None, id="under its second name"),
        pytest.param({"headers": KEY | {"Authorization": "other"}}, 200, None, id="the first name counts"),
    ],
)
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


async def unsized(body):
    yield body


@pytest.mark.parametrize("chunked", [True, False], ids=["in chunks", "with its length"])
@pytest.mark.parametrize(("more", "status"), [(0, 200), (1, 413)], ids=["as much as allowed", "more"])
async def test_big_bodies_are_refused(chunked, more, status):
    body = b"x" * (2**20 + more)
    limit = plugin("request-size-limiting", allowed_payload_size=1)
    answer, seen = await ask(limit, data=unsized(body) if chunked else body)
    assert (answer.status, seen.count) == (status, int(status == 200))


@pytest.mark.parametrize(
    ("requests", "status", "remaining"),
    [
        pytest.param(1, 200, "2", id="a request within the limit is told what remains"),
        pytest.param(3, 200, "0", id="the last one passes"),
        pytest.param(4, 429, "0", id="a request beyond it is refused until the minute ends"),
    ],
)
async def test_requests_are_counted_by_the_minute(one_minute, requests, status, remaining):
    answer, seen = await ask(MINUTE, requests=requests)
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


async def test_with_redis_the_count_is_kept_there_under_kongs_key(monkeypatch, one_minute):
    counters: dict[str, tuple[int, int]] = {}

    class Redis:
        async def eval(self, _script, _keys, key, seconds):
            counters[key] = (counters.get(key, (0, 0))[0] + 1, seconds)
            return counters[key][0] - 1

    monkeypatch.setattr(rate_limiting.RateLimits, "_client", lambda *_: Redis())
    answer, _ = await ask(plugin("key-auth"), in_redis(), requests=2, headers=KEY)
    assert answer.status == 429
    [(key, count)] = counters.items()
    start = (one_minute - one_minute % 60) * 1000
    nobody, somebody = "0{8}-0{4}-0{4}-0{4}-0{12}", "[0-9a-f-]{36}"
    assert re.fullmatch(f"ratelimit:{somebody}:{nobody}:{somebody}:{start}:minute", key)
    assert count == (2, 60)


async def test_a_routes_own_configuration_counts_before_everybodys():
    answer, _ = await ask(MINUTE, everywhere=[plugin("rate-limiting", minute=9)])
    assert answer.headers["RateLimit-Limit"] == "3"


async def test_requests_and_the_health_of_targets_are_metrics():
    _, seen = await ask(plugin("key-auth"), everywhere=[plugin("prometheus")], headers=KEY, data=b"abc")
    of_route = 'service="chat",route="chat",'
    target = f'upstream="pool",target="{seen.address}",address="{seen.address}"'
    of_consumer = 'workspace="default",consumer="me"'
    assert {
        f'kong_http_requests_total{{{of_route}code="200",source="service",{of_consumer}}} 1',
        f'kong_bandwidth_bytes{{{of_route}direction="ingress",{of_consumer}}} 3',
        f'kong_bandwidth_bytes{{{of_route}direction="egress",{of_consumer}}} 2',
        *(
            f'kong_{name}_latency_ms_bucket{{{of_route}workspace="default",le="+Inf"}} 1'
            for name in ("kong", "upstream", "request")
        ),
        f'kong_upstream_target_health{{{target},state="healthy",subsystem="http"}} 1',
        f'kong_upstream_target_health{{{target},state="unhealthy",subsystem="http"}} 0',
    } <= set(seen.metrics)
    assert any(re.fullmatch(r'kong_nginx_connections_total{.*state="active"} 0', m) for m in seen.metrics)


async def test_an_answer_of_kongs_own_is_counted_as_its_own():
    _, seen = await ask(plugin("key-auth"), everywhere=[plugin("prometheus")])
    [counted] = [line for line in seen.metrics if line.startswith("kong_http_requests_total{")]
    assert 'code="401",source="kong",workspace="default",consumer=""' in counted


async def test_every_request_is_logged_with_its_tries_and_with_what_lua_adds():
    more = plugin("pre-function", log=["kong.log.set_serialize_value('llm.request', 'é')"])
    async with node() as one, node() as collector:
        log = plugin("http-log", http_endpoint=f"http://{collector.address}/log", headers={"X-Log": "1"})
        async with kong(chat((refusing(), 1), (one.address, 1), plugins=[log, more])) as client:
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


async def until(what):
    async with asyncio.timeout(20):
        while not what():
            await asyncio.sleep(0.01)
