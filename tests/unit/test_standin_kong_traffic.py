"""Which node Kong asks, and whether again, pinned on its stand-in. Nodes are real sockets.

What its plugins do is asked of the gateway in the lab, by `bin/verify` and `tests/e2e`.
"""

import asyncio
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager

import pytest
import standin_kong
from aiohttp import ClientPayloadError
from standin_kong import chat, kong, node, refusing, says, sends

PASSIVE = {"passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}}
BEHAVIOURS = {
    "hangs up": standin_kong.hangs_up,
    "is silent": standin_kong.is_silent,
    "talks nonsense": sends(b"nonsense\r\n\r\n"),
    "is busy": says(503),
}
# Only who waits in vain needs to be short of patience: a good node may be slow on a busy machine.
PATIENCE = {"is off": {"connect_timeout": 500}, "is silent": {"read_timeout": 1000}}


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


@pytest.mark.parametrize(("behaviour", "weight", "status", "message"), [
    pytest.param("refuses", 1, 502, "An invalid response was received", id="refused"),
    pytest.param("is off", 1, 504, "The upstream server is timing out", id="off"),
    pytest.param("refuses", 0, 503, "failure to get a peer from the ring-balancer", id="weight 0"),
])  # fmt: skip
async def test_when_no_node_answers_the_last_failure_is_the_answer(behaviour, weight, status, message):
    async with bad_node(behaviour) as address:
        tree = chat((address, weight), retries=2, **PATIENCE.get(behaviour, {}))
        async with kong(tree) as client:
            answer = await client.ask()
    assert answer.status == status
    assert (await answer.json())["message"].startswith(message)


async def test_there_is_one_try_more_than_retries():
    async with node(standin_kong.hangs_up) as bad, kong(chat((bad.address, 1), retries=4)) as client:
        await client.ask("GET")
    assert bad.seen == 5


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
    assert (answer.status, one.seen) == (200, 1)
