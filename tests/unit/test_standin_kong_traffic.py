"""What Kong does with a request, pinned on its stand-in: tries and limits. Nodes are real sockets."""

import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from types import SimpleNamespace

import pytest
import standin_kong
from standin_kong import chat, kong, node, plugin, refusing, says, sends
from standins.kong.kong_standin import rate_limiting

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


@pytest.mark.parametrize(
    ("behaviour", "method", "statuses"),
    [
        pytest.param("refuses", "POST", [200, 200], id="a refused POST goes on to the next node"),
        pytest.param("is off", "POST", [200, 200], id="a POST goes on after the connect timeout"),
        pytest.param("hangs up", "POST", [200, 502], id="a POST that was sent is not repeated"),
        pytest.param("hangs up", "GET", [200, 200], id="a GET that was sent is repeated"),
        pytest.param("is silent", "POST", [200, 504], id="a POST that timed out is not repeated"),
        pytest.param("is silent", "GET", [200, 200], id="a GET that timed out is repeated"),
        pytest.param("talks nonsense", "GET", [200, 502], id="nonsense is not repeated"),
        pytest.param("is busy", "GET", [200, 503], id="an answer is an answer, also 503"),
    ],
)
async def test_what_is_tried_again(behaviour, method, statuses):
    """Of two requests to a good and a bad node one meets the bad one first."""
    async with (
        bad_node(behaviour) as address,
        node() as good,
        kong(chat((address, 1), (good.address, 1), **PATIENCE.get(behaviour, {}))) as client,
    ):
        assert sorted([(await client.ask(method)).status for _ in range(2)]) == statuses


async def ask(*plugins, requests, everywhere=()):
    """Ask a gateway with these plugins; return the last answer, and how many reached the node."""
    async with node() as one:
        tree = chat((one.address, 1), plugins=plugins) | {"plugins": list(everywhere)}
        async with kong(tree) as client:
            for _ in range(requests):
                answer = await client.ask()
    return answer, len(one.seen)


@pytest.mark.parametrize(
    ("requests", "status", "remaining"),
    [
        pytest.param(1, 200, "2", id="a request within the limit is told what remains"),
        pytest.param(4, 429, "0", id="a request beyond it is refused until the minute ends"),
    ],
)
async def test_requests_are_counted_by_the_minute(one_minute, requests, status, remaining):
    everywhere = [plugin("rate-limiting", minute=9)]  # the route's own counts
    answer, seen = await ask(plugin("rate-limiting", minute=3), requests=requests, everywhere=everywhere)
    reset = str(60 - one_minute % 60)
    names = ("RateLimit-Limit", "RateLimit-Remaining", "X-RateLimit-Remaining-Minute", "RateLimit-Reset")
    assert (answer.status, seen) == (status, min(requests, 3))
    assert [answer.headers[name] for name in names] == ["3", remaining, remaining, reset]
    if status == 429:
        assert (await answer.json())["message"] == "API rate limit exceeded"
        assert answer.headers["Retry-After"] == reset


async def test_without_redis_requests_pass_uncounted():
    host, _, port = refusing().partition(":")
    redis = {"host": host, "port": int(port), "timeout": 200}
    answer, seen = await ask(plugin("rate-limiting", minute=1, policy="redis", redis=redis), requests=2)
    assert (answer.status, seen) == (200, 2)
    assert "RateLimit-Limit" not in answer.headers
