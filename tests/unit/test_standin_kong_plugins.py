"""The plugins of the stand-in for Kong answer, count and change as Kong's do."""

import asyncio
import json
import re
from types import SimpleNamespace

import pytest
from standin_kong import chat, kong, node, refusing
from standins.kong.kong_standin import rate_limiting

KEYS = {"consumers": [{"username": "me", "custom_id": "7", "keyauth_credentials": [{"key": "secret"}]}]}


def ask(*plugins, requests=1, everywhere=(), path="/chat", consumers=KEYS, **what):
    """Ask a gateway with these plugins; return the last answer and what the node saw of it."""

    async def run():
        async with node() as one:
            tree = chat((one.address, 1), plugins=plugins) | consumers | {"plugins": list(everywhere)}
            async with kong(tree) as client:
                for _ in range(requests):
                    answer = await client.ask(path=path, **what)
            head = one.heads[-1] if one.heads else ""
            lines = [line.partition(": ") for line in head.splitlines()[1:]]
            return answer, SimpleNamespace(
                line=head.partition("\r\n")[0],
                headers={name.lower(): value for name, _, value in lines},
                count=len(one.seen),
            )

    return asyncio.run(run())


def plugin(name, **config):
    return {"name": name, "config": config}


# --- key-auth ---


@pytest.mark.parametrize(
    ("config", "what", "status", "message"),
    [
        pytest.param({}, {}, 401, "No API key found in request", id="no key"),
        pytest.param({}, {"headers": {"apikey": ""}}, 401, "No API key found in request", id="an empty key"),
        pytest.param({}, {"headers": {"apikey": "wrong"}}, 401, "Unauthorized", id="an unknown key"),
        pytest.param({}, {"headers": [("apikey", "a"), ("apikey", "b")]}, 401, "Duplicate", id="two keys"),
        pytest.param({}, {"headers": {"APIKey": "secret"}}, 200, None, id="a header of any case"),
        pytest.param({}, {"path": "/chat?apikey=secret"}, 200, None, id="in the query, by default"),
        pytest.param(
            {"key_in_query": False}, {"path": "/chat?apikey=secret"}, 401, "No API key", id="not in the query"
        ),
        pytest.param(
            {"key_names": ["apikey", "authorization"]},
            {"headers": {"Authorization": "secret"}},
            200, None, id="under its second name",
        ),
        pytest.param(
            {"key_names": ["authorization"]},
            {"headers": {"Authorization": "Bearer secret"}},
            401, "Unauthorized", id="the whole header is compared",
        ),
    ],
)  # fmt: skip
def test_a_key_is_asked_for(config, what, status, message):
    answer, _ = ask(plugin("key-auth", **config), **what)
    assert answer.status == status
    if message:
        assert message in json.loads(answer.body)["message"]
        assert answer.headers["WWW-Authenticate"] == "Key"


@pytest.mark.parametrize("hide", [True, False], ids=["hidden", "shown"])
def test_the_node_sees_the_consumer_and_the_key_only_if_it_is_not_hidden(hide):
    _, seen = ask(plugin("key-auth", hide_credentials=hide), path="/chat?apikey=secret&a=1")
    assert (seen.line == "POST /?a=1 HTTP/1.1") == hide
    assert seen.headers["x-consumer-username"] == "me"
    assert seen.headers["x-consumer-custom-id"] == "7"


def test_a_client_cannot_claim_to_be_a_consumer():
    _, seen = ask(
        plugin("key-auth", anonymous="nobody"),
        headers={"X-Consumer-Username": "root"},
        consumers={"consumers": [{"username": "nobody"}]},
    )
    assert seen.headers["x-consumer-username"] == "nobody"
    assert seen.headers["x-anonymous-consumer"] == "true"


# --- correlation-id, sizes, transformations ---


def test_a_request_gets_an_id_that_the_node_and_the_client_see():
    answer, seen = ask(
        plugin("correlation-id", header_name="X-Request-ID", generator="uuid", echo_downstream=True)
    )
    assert re.fullmatch(r"[0-9a-f-]{36}", seen.headers["x-request-id"])
    assert answer.headers["X-Request-ID"] == seen.headers["x-request-id"]


def test_an_id_that_is_there_is_kept():
    answer, seen = ask(
        plugin("correlation-id", header_name="X-Request-ID", echo_downstream=True),
        headers={"X-Request-ID": "mine"},
    )
    assert answer.headers["X-Request-ID"] == seen.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("size", "status"),
    [(1024, 200), (1025, 413)],
    ids=["as much as allowed", "one byte more"],
)
def test_big_bodies_are_refused(size, status):
    config = {"allowed_payload_size": 1, "size_unit": "kilobytes"}
    answer, seen = ask(plugin("request-size-limiting", **config), data=b"x" * size)
    assert answer.status == status
    assert seen.count == (1 if status == 200 else 0)


def test_headers_and_arguments_are_changed():
    transform = plugin(
        "request-transformer",
        remove={"headers": ["Origin"], "querystring": ["gone"]},
        rename={"headers": ["Old:New"]},
        replace={"headers": ["There:changed", "Absent:x"], "uri": "/api/show"},
        add={"headers": ["There:ignored", "Added:yes"], "querystring": ["a:1"]},
    )
    headers = {"Origin": "http://x", "Old": "value", "There": "before"}
    _, seen = ask(transform, path="/chat?gone=1&b=2", headers=headers)
    assert seen.line == "POST /api/show?b=2&a=1 HTTP/1.1"
    assert [seen.headers.get(name) for name in ("origin", "new", "there", "added", "absent")] == [
        None, "value", "changed", "yes", None,
    ]  # fmt: skip


# --- rate-limiting ---


def test_requests_beyond_the_limit_get_429_until_the_window_ends():
    answer, seen = ask(plugin("rate-limiting", hour=3), requests=4)
    assert (answer.status, seen.count) == (429, 3)
    assert json.loads(answer.body)["message"] == "API rate limit exceeded"
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert 0 < int(answer.headers["Retry-After"]) <= 3600
    assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]


def test_a_request_within_the_limit_is_told_what_remains():
    answer, _ = ask(plugin("rate-limiting", hour=3, day=100), requests=2)
    names = (
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "X-RateLimit-Remaining-Hour",
        "X-RateLimit-Remaining-Day",
    )
    assert [answer.headers[name] for name in names] == ["3", "1", "1", "98"]


@pytest.mark.parametrize(
    ("period", "now", "start"),
    [
        ("minute", 119, 60),
        ("day", 86401, 86400),
        ("month", 1_700_000_000, 1_698_796_800),
        ("year", 1_700_000_000, 1_672_531_200),
    ],
)
def test_windows_are_fixed_and_begin_with_the_clock(period, now, start):
    assert rate_limiting.window_start(period, now) == start


def in_redis(**config):
    host, _, port = refusing().partition(":")
    return plugin(
        "rate-limiting",
        hour=1,
        policy="redis",
        redis={"host": host, "port": int(port), "timeout": 200},
        **config,
    )


@pytest.mark.parametrize(
    ("tolerant", "status"),
    [(True, 200), (False, 500)],
    ids=["requests pass uncounted with fault_tolerant", "requests fail without it"],
)
def test_without_redis(tolerant, status):
    answer, _ = ask(in_redis(fault_tolerant=tolerant), requests=2)
    assert answer.status == status
    assert "RateLimit-Limit" not in answer.headers


def test_with_redis_the_count_is_kept_there_under_kongs_key(monkeypatch):
    counters: dict[str, tuple[int, int]] = {}

    class Redis:
        async def eval(self, _script, _keys, key, seconds):
            counters[key] = (counters.get(key, (0, 0))[0] + 1, seconds)
            return counters[key][0] - 1

    monkeypatch.setattr(rate_limiting.RateLimits, "_client", lambda *_: Redis())
    answer, _ = ask(plugin("key-auth"), in_redis(), requests=2, headers={"apikey": "secret"})
    assert answer.status == 429
    [(key, (count, seconds))] = counters.items()
    assert re.fullmatch(r"ratelimit:[0-9a-f-]{36}:0{8}-0{4}-0{4}-0{4}-0{12}:[0-9a-f-]{36}:\d+:hour", key)
    assert (count, seconds) == (2, 3600)


# --- who wins, metrics, logs ---


@pytest.mark.parametrize(
    ("scopes", "limit"),
    [
        pytest.param({"all": 9}, "9", id="one for everybody"),
        pytest.param({"all": 9, "route": 8}, "8", id="a route's before everybody's"),
        pytest.param({"all": 9, "route": 8, "consumer": 7}, "7", id="a consumer's before a route's"),
    ],
)
def test_the_most_special_configuration_counts(scopes, limit):
    limits = {name: plugin("rate-limiting", hour=hour) for name, hour in scopes.items()}
    consumers = json.loads(json.dumps(KEYS))
    consumers["consumers"][0]["plugins"] = [limits["consumer"]] if "consumer" in limits else []
    answer, _ = ask(
        *([limits["route"]] if "route" in limits else []),
        plugin("key-auth"),
        everywhere=[limits["all"]],
        consumers=consumers,
        headers={"apikey": "secret"},
    )
    assert answer.headers["RateLimit-Limit"] == limit


PROMETHEUS = plugin(
    "prometheus",
    per_consumer=True, status_code_metrics=True, latency_metrics=True, bandwidth_metrics=True,
    upstream_health_metrics=True,
)  # fmt: skip


def metrics(*plugins, **what):
    async def run():
        async with node() as one:
            checks = {"passive": {"unhealthy": {"tcp_failures": 1}}}
            tree = chat((one.address, 1), plugins=plugins, checks=checks) | KEYS
            async with kong(tree) as client:
                await client.ask(**what)
                return await client.status("/metrics"), one.address

    return asyncio.run(run())


def test_requests_and_the_health_of_targets_are_metrics():
    page, address = metrics(plugin("key-auth"), PROMETHEUS, headers={"apikey": "secret"})
    lines = page.body.decode().splitlines()
    labels = 'service="chat",route="chat",code="200",source="service",workspace="default",consumer="me"'
    assert f"kong_http_requests_total{{{labels}}} 1" in lines
    health = f'upstream="pool",target="{address}",address="{address}",state="healthy",subsystem="http"'
    assert f"kong_upstream_target_health{{{health}}} 1" in lines
    assert any(line.startswith('kong_request_latency_ms_bucket{service="chat"') for line in lines)
    assert any('direction="egress"' in line and line.endswith(" 2") for line in lines)


def test_an_answer_of_kongs_own_is_counted_as_its_own():
    page, _ = metrics(plugin("key-auth"), PROMETHEUS)
    assert 'code="401",source="kong"' in page.body.decode()


def test_every_group_of_metrics_is_off_by_default():
    page, _ = metrics(plugin("prometheus"))
    names = re.findall(r"^# TYPE (\S+)", page.body.decode(), re.MULTILINE)
    assert "kong_nginx_requests_total" in names
    assert not {"kong_http_requests_total", "kong_upstream_target_health", "kong_bandwidth_bytes"} & set(
        names
    )


def test_every_request_is_logged_with_its_tries():
    async def run():
        async with node() as one, node() as collector:
            log = plugin("http-log", http_endpoint=f"http://{collector.address}/log")
            tree = chat((refusing(), 1), (one.address, 1), plugins=[log])
            async with kong(tree) as client:
                for _ in range(2):
                    await client.ask(headers={"Authorization": "Bearer secret"})
                async with asyncio.timeout(5):
                    while len(collector.seen) < 2:
                        await asyncio.sleep(0.01)
            return [json.loads(body) for _, body in collector.seen], one.address

    records, address = asyncio.run(run())
    retried = next(record for record in records if len(record["tries"]) == 2)
    assert [(t["state"], t["code"]) for t in retried["tries"]] == [("failed", 502), (None, None)]
    assert "{ip}:{port}".format(**retried["tries"][1]) == address
    assert retried["response"]["status"] == 200
    assert retried["request"]["headers"]["authorization"] == "REDACTED"


def test_a_log_nobody_takes_does_not_disturb_the_request():
    answer, _ = ask(plugin("http-log", http_endpoint=f"http://{refusing()}/log"))
    assert answer.status == 200
