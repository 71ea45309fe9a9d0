"""The stand-in for Kong tries, retries, streams and gives up as Kong does. Nodes are real sockets."""

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientPayloadError
from standin_kong import chat, hangs_up, is_silent, kong, node, plugin, refusing, says, sends, switched_off

PASSIVE = {"passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}}
BEHAVIOURS = {
    "hangs up": hangs_up,
    "is silent": is_silent,
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
            yield switched_off(stack.enter_context(ExitStack()))
        else:
            yield (await stack.enter_async_context(node(BEHAVIOURS[behaviour]))).address


def addresses(client):
    return client.gateway.now.checkers["pool"].wheel.addresses


@pytest.mark.parametrize(
    ("behaviour", "method", "statuses"),
    [
        pytest.param("refuses", "POST", [200, 200], id="a refused POST goes on to the next node"),
        pytest.param("refuses", "GET", [200, 200], id="a refused GET goes on to the next node"),
        pytest.param("is off", "POST", [200, 200], id="a POST goes on after the connect timeout"),
        pytest.param("hangs up", "POST", [200, 502], id="a POST that was sent is not repeated"),
        pytest.param("hangs up", "PATCH", [200, 502], id="nor is a PATCH"),
        pytest.param("hangs up", "GET", [200, 200], id="a GET that was sent is repeated"),
        pytest.param("hangs up", "PUT", [200, 200], id="so is a PUT"),
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


NO_PEER = "failure to get a peer from the ring-balancer"
INVALID, TIMING_OUT = "An invalid response was received", "The upstream server is timing out"


@pytest.mark.parametrize(
    ("behaviour", "weights", "status", "message"),
    [
        pytest.param("refuses", [1], 502, INVALID, id="refused"),
        pytest.param("is off", [1], 504, TIMING_OUT, id="off"),
        pytest.param("refuses", [], 503, NO_PEER, id="an upstream without targets"),
        pytest.param("refuses", [0], 503, NO_PEER, id="all weights are 0"),
    ],
)
async def test_when_no_node_answers_the_last_failure_is_the_answer(behaviour, weights, status, message):
    async with bad_node(behaviour) as address:
        tree = chat(*[(address, weight) for weight in weights], retries=2, **PATIENCE.get(behaviour, {}))
        async with kong(tree) as client:
            answer = await client.ask()
    assert answer.status == status
    assert json.loads(answer.body)["message"].startswith(message)


@pytest.mark.parametrize("retries", [0, 4])
async def test_there_is_one_try_more_than_retries(retries):
    async with node(hangs_up) as bad, kong(chat((bad.address, 1), retries=retries)) as client:
        await client.ask("GET")
    assert len(bad.seen) == retries + 1


async def test_500_requests_are_split_exactly_80_to_20():
    async with (
        node() as big,
        node() as small,
        kong(chat((big.address, 80), (small.address, 20))) as client,
    ):
        assert {(await client.ask()).status for _ in range(500)} == {200}
    assert (len(big.seen), len(small.seen)) == (400, 100)


async def test_every_try_of_a_request_is_in_the_access_log(capsys):
    bad = refusing()
    async with node() as one, kong(chat((bad, 1), (one.address, 1))) as client:
        for _ in range(2):
            await client.ask()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"uri": "/chat", "tried": f"{bad}, {one.address}"} in lines


async def test_a_refused_connection_takes_the_node_out_at_once():
    async with node() as good, kong(chat((refusing(), 80), (good.address, 20), checks=PASSIVE)) as client:
        assert {(await client.ask()).status for _ in range(20)} == {200}
        assert [address.available for address in addresses(client)] == [False, True]


async def test_a_refused_last_try_counts_as_a_502_not_as_a_refusal():
    async with kong(chat((refusing(), 1), checks=PASSIVE, retries=0)) as client:
        await client.ask()
        assert addresses(client)[0].available


async def test_a_last_try_that_timed_out_counts():
    tree = {"checks": PASSIVE, "read_timeout": 200}
    async with node(is_silent) as bad, kong(chat((bad.address, 1), **tree)) as client:
        assert (await client.ask()).status == 504
        assert not addresses(client)[0].available


async def test_probes_take_a_node_out_and_bring_it_back():
    statuses = {"healthy": 500, "unhealthy": 200}
    active = {
        "http_path": "/api/version",
        "healthy": {"interval": 0.05, "successes": 2},
        "unhealthy": {"interval": 0.05, "tcp_failures": 1, "timeouts": 1, "http_failures": 1},
    }

    async def write(writer):
        await says(statuses["healthy" if address.available else "unhealthy"])(writer)

    async with node(write) as one, kong(chat((one.address, 1), checks={"active": active})) as client:
        [address] = addresses(client)
        for wanted in (False, True):
            async with asyncio.timeout(5):
                while address.available != wanted:
                    await asyncio.sleep(0.01)
    assert one.seen[0][0] == "GET /api/version HTTP/1.0"
    assert "Host: 127.0.0.1\r\n" in one.heads[0]


CHUNKS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
    b'8\r\n{"a":1}\n\r\n',
    b'8\r\n{"a":2}\n\r\n',
    b"0\r\n\r\n",
)


async def test_lines_of_a_stream_arrive_as_they_are_sent():
    loop = asyncio.get_running_loop()
    async with (
        node(sends(*CHUNKS, pause=0.1)) as one,
        kong(chat((one.address, 1))) as client,
        client.session.post(client.url + "/chat") as answer,
    ):
        first, second = [loop.time() async for _ in answer.content]
    assert second - first > 0.05


async def test_a_client_that_hangs_up_ends_the_request_on_the_node():
    endless = sends(CHUNKS[0], *([CHUNKS[1]] * 1000), pause=0.02)
    async with node(endless) as one, kong(chat((one.address, 1), checks=PASSIVE)) as client:
        async with client.session.post(client.url + "/chat") as answer:
            await answer.content.readline()
            answer.close()
        async with asyncio.timeout(5):
            await one.abandoned.wait()
        assert addresses(client)[0].available


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", id="short of its length"),
        pytest.param(b"".join(CHUNKS[:2]), id="without its last chunk"),
        pytest.param(CHUNKS[0] + b"8\r\nhalf", id="within a chunk"),
    ],
)
async def test_a_node_that_breaks_in_mid_stream_cuts_the_answer_and_the_status_stays(broken):
    async with (
        node(sends(broken)) as one,
        kong(chat((one.address, 1))) as client,
        client.session.post(client.url + "/chat") as answer,
    ):
        with pytest.raises(ClientPayloadError):
            await answer.read()
    assert (answer.status, len(one.seen)) == (200, 1)


async def test_the_node_sees_body_path_and_for_whom():
    async with node() as one, kong(chat((one.address, 1), path="/api/chat")) as client:
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "TE": "x", "A": "b"}
        await client.ask(path="/chat?a=b%20c", data=b"\x00\xffbytes", headers=headers)
    assert one.seen == [("POST /api/chat?a=b%20c HTTP/1.1", b"\x00\xffbytes")]
    sent = dict(line.split(": ", 1) for line in one.heads[0].splitlines()[1:] if line)
    expected = {
        "Host": one.address, "A": "b", "X-Real-IP": "127.0.0.1", "X-Forwarded-Path": "/chat",
        "X-Forwarded-For": "203.0.113.9, 127.0.0.1", "X-Forwarded-Proto": "http",
    }  # fmt: skip
    assert sent | expected == sent
    assert "TE" not in sent


async def test_a_trusted_proxy_says_who_asks():
    async with node() as one, kong(chat((one.address, 1)), KONG_TRUSTED_IPS="127.0.0.0/8") as client:
        await client.ask(headers={"X-Forwarded-For": "203.0.113.9, 127.0.0.2", "X-Forwarded-Proto": "https"})
    assert "X-Real-IP: 203.0.113.9\r\n" in one.heads[0]
    assert "X-Forwarded-Proto: https\r\n" in one.heads[0]


@pytest.mark.parametrize("length", [0, 1, 3_000_000], ids=["no body", "one byte", "three megabytes"])
async def test_a_body_of_any_size_goes_there_and_back(length):
    async with node(says(200, b"y" * length)) as one, kong(chat((one.address, 1))) as client:
        answer = await client.ask(data=b"x" * length)
    assert (len(one.seen[0][1]), len(answer.body)) == (length, length)


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        pytest.param("key-auth", {}, b"HTTP/1.1 401 ", id="a client without a key"),
        pytest.param("request-size-limiting", {"allowed_payload_size": 1}, b"HTTP/1.1 413 ", id="too long"),
    ],
)
async def test_the_body_of_a_request_that_is_refused_is_not_waited_for(name, config, said):
    async with kong(chat(("127.0.0.1:1", 1), plugins=[plugin(name, **config)])) as client:
        address = urlsplit(client.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(b"POST /chat HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10000000\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(64), timeout=5)
        writer.close()
    assert answer.startswith(said)
