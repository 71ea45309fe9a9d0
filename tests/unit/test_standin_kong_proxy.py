"""The stand-in for Kong tries, retries, streams and gives up as Kong does. Nodes are real sockets."""

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientPayloadError
from standin_kong import chat, hangs_up, is_silent, kong, node, refusing, says, sends, switched_off

CHECKS = {
    "active": {
        "http_path": "/api/version",
        "timeout": 0.1,
        "healthy": {"interval": 0.05, "successes": 2},
        "unhealthy": {"interval": 0.05, "tcp_failures": 1, "timeouts": 1, "http_failures": 1},
    },
    "passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}},
}
BEHAVIOURS = {
    "hangs up": hangs_up,
    "is silent": is_silent,
    "talks nonsense": sends(b"nonsense\r\n\r\n"),
    "is busy": says(503),
}


# Only who waits in vain needs to be short of patience: a good node may be slow on a busy machine.
PATIENCE = {"is off": {"connect_timeout": 500}, "is silent": {"read_timeout": 1000}}


async def with_bad(behaviour, use):
    """Run `use(address of a node that behaves badly, the node if it has one)`."""
    async with AsyncExitStack() as stack:
        if behaviour == "refuses":
            return await use(refusing(), None)
        if behaviour == "is off":
            return await use(switched_off(stack.enter_context(ExitStack())), None)
        bad = await stack.enter_async_context(node(BEHAVIOURS[behaviour]))
        return await use(bad.address, bad)


# What a client sees of two requests to a good and a bad node: one of them meets the bad one first.
RETRY_RULES = [
    pytest.param("refuses", "POST", [200, 200], id="a refused POST goes on to the next node"),
    pytest.param("refuses", "GET", [200, 200], id="a refused GET goes on to the next node"),
    pytest.param(
        "is off", "POST", [200, 200], id="a POST to a node that is off goes on after the connect timeout"
    ),
    pytest.param("hangs up", "POST", [200, 502], id="a POST that was sent is not repeated"),
    pytest.param("hangs up", "PATCH", [200, 502], id="nor is a PATCH"),
    pytest.param("hangs up", "GET", [200, 200], id="a GET that was sent is repeated"),
    pytest.param("hangs up", "PUT", [200, 200], id="so is a PUT"),
    pytest.param("is silent", "POST", [200, 504], id="a POST that timed out is not repeated"),
    pytest.param("is silent", "GET", [200, 200], id="a GET that timed out is repeated"),
    pytest.param("talks nonsense", "GET", [200, 502], id="nonsense is not repeated"),
    pytest.param("is busy", "GET", [200, 503], id="an answer is an answer, also 503"),
]


@pytest.mark.parametrize(("behaviour", "method", "statuses"), RETRY_RULES)
def test_what_is_tried_again(behaviour, method, statuses):
    async def use(address, _bad):
        async with (
            node() as good,
            kong(chat((address, 1), (good.address, 1), **PATIENCE.get(behaviour, {}))) as client,
        ):
            return sorted([(await client.ask(method)).status for _ in range(2)])

    assert asyncio.run(with_bad(behaviour, use)) == statuses


@pytest.mark.parametrize(
    ("behaviour", "status", "message"),
    [
        pytest.param(
            "refuses", 502, "An invalid response was received from the upstream server", id="refused"
        ),
        pytest.param("is off", 504, "The upstream server is timing out", id="off"),
    ],
)
def test_when_no_try_works_the_last_failure_is_the_answer(behaviour, status, message):
    async def use(address, _bad):
        async with kong(chat((address, 1), retries=2, **PATIENCE.get(behaviour, {}))) as client:
            return await client.ask()

    answer = asyncio.run(with_bad(behaviour, use))
    assert answer.status == status
    assert json.loads(answer.body)["message"] == message


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_there_is_one_try_more_than_retries(retries):
    async def run():
        async with node(hangs_up) as bad, kong(chat((bad.address, 1), retries=retries)) as client:
            await client.ask("GET")
            return len(bad.seen)

    assert asyncio.run(run()) == retries + 1


def test_500_requests_are_split_exactly_80_to_20():
    async def run():
        async with node() as big, node() as small:
            async with kong(chat((big.address, 80), (small.address, 20))) as client:
                for _ in range(500):
                    assert (await client.ask()).status == 200
            return len(big.seen), len(small.seen)

    assert asyncio.run(run()) == (400, 100)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        pytest.param([], "failure to get a peer from the ring-balancer", id="an upstream without targets"),
        pytest.param(
            [("127.9.9.1:1", 0)], "failure to get a peer from the ring-balancer", id="all weights are 0"
        ),
    ],
)
def test_without_anybody_to_ask_the_answer_is_503(targets, message):
    async def run():
        async with kong(chat(*targets)) as client:
            return await client.ask()

    answer = asyncio.run(run())
    assert answer.status == 503
    assert json.loads(answer.body)["message"] == message


# --- passive and active checks, live ---


def test_a_refused_connection_takes_the_node_out_at_once():
    async def run():
        async with (
            node() as good,
            kong(chat((refusing(), 80), (good.address, 20), checks=CHECKS)) as client,
        ):
            statuses = [(await client.ask()).status for _ in range(20)]
            bad, fine = client.gateway.now.checkers["pool"].wheel.addresses
            return statuses, bad.available, fine.available

    assert asyncio.run(run()) == ([200] * 20, False, True)


def test_a_refused_last_try_counts_as_a_502_not_as_a_refusal():
    async def run():
        async with kong(chat((refusing(), 1), checks=CHECKS, retries=0)) as client:
            await client.ask()
            return client.gateway.now.checkers["pool"].wheel.addresses[0].available

    assert asyncio.run(run())


def test_probes_take_a_node_out_and_bring_it_back():
    async def run():
        behaviour = {"now": says(500)}
        seen = []

        async def write(writer):
            await behaviour["now"](writer)

        async with node(write) as one, kong(chat((one.address, 1), checks=CHECKS), probing=True) as client:
            address = client.gateway.now.checkers["pool"].wheel.addresses[0]
            for wanted, then in ((False, says(200)), (True, says(200))):
                async with asyncio.timeout(5):
                    while address.available != wanted:
                        await asyncio.sleep(0.01)
                seen.append((await client.ask()).status)
                behaviour["now"] = then
            return seen, one.seen[0][0], one.heads[0]

    statuses, first_line, head = asyncio.run(run())
    assert statuses == [503, 200]
    assert first_line == "GET /api/version HTTP/1.0"
    assert "Host: 127.0.0.1" in head


# --- streams ---

CHUNKS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
    b'8\r\n{"a":1}\n\r\n',
    b'8\r\n{"a":2}\n\r\n',
    b"0\r\n\r\n",
)


async def times_of_lines(client):
    """Seconds between the first and the second line of a stream."""
    loop, times = asyncio.get_running_loop(), []
    async with client.session.post(client.url + "/chat") as answer:
        async for _ in answer.content:
            times.append(loop.time())
    return times[1] - times[0]


@pytest.mark.parametrize(
    ("buffering", "together"),
    [
        pytest.param(False, False, id="lines arrive as they are sent without response_buffering"),
        pytest.param(True, True, id="lines arrive together with response_buffering, Kong's default"),
    ],
)
def test_a_stream(buffering, together):
    async def run():
        async with node(sends(*CHUNKS, pause=0.1)) as one:
            tree = chat((one.address, 1))
            tree["services"][0]["routes"][0]["response_buffering"] = buffering
            async with kong(tree) as client:
                return await times_of_lines(client)

    assert (asyncio.run(run()) < 0.05) == together


def test_a_client_that_hangs_up_ends_the_request_on_the_node():
    async def run():
        endless = [CHUNKS[0], *([CHUNKS[1]] * 1000)]
        async with node(sends(*endless, pause=0.02)) as one, kong(chat((one.address, 1))) as client:
            async with client.session.post(client.url + "/chat") as answer:
                await answer.content.readline()
                answer.close()
            async with asyncio.timeout(5):
                await one.abandoned.wait()
            return client.gateway.now.checkers["pool"].wheel.addresses[0].available

    assert asyncio.run(run())


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this", id="short of its length"),
        pytest.param(b"".join(CHUNKS[:2]), id="without its last chunk"),
        pytest.param(CHUNKS[0] + b"8\r\nhalf", id="within a chunk"),
    ],
)
def test_a_node_that_breaks_in_mid_stream_cuts_the_answer_and_the_status_stays(broken):
    async def run():
        async with (
            node(sends(broken)) as one,
            kong(chat((one.address, 1))) as client,
            client.session.post(client.url + "/chat") as answer,
        ):
            with pytest.raises(ClientPayloadError):
                await answer.read()
            return answer.status, len(one.seen)

    assert asyncio.run(run()) == (200, 1)


# --- what the node is told ---


def test_the_node_sees_body_path_and_for_whom():
    async def run():
        async with node() as one, kong(chat((one.address, 1), path="/api/chat")) as client:
            headers = {"X-Forwarded-For": "203.0.113.9", "TE": "x", "Custom": "stays"}
            await client.ask(path="/chat?a=b%20c", data=b"\x00\xffbytes", headers=headers)
            return one

    one = asyncio.run(run())
    assert one.seen == [("POST /api/chat?a=b%20c HTTP/1.1", b"\x00\xffbytes")]
    sent = {line.partition(": ")[0]: line.partition(": ")[2] for line in one.heads[0].splitlines()[1:]}
    assert sent["Host"] == one.address
    assert sent["Custom"] == "stays"
    assert sent["X-Forwarded-For"] == "203.0.113.9, 127.0.0.1"
    assert sent["X-Real-IP"] == "127.0.0.1"
    assert "TE" not in sent


@pytest.mark.parametrize(
    ("trusted", "client_ip"),
    [
        pytest.param("127.0.0.0/8", "203.0.113.9", id="a trusted proxy says who asks"),
        pytest.param("192.0.2.0/24", "127.0.0.1", id="anybody else is who asks"),
    ],
)
def test_who_asks(trusted, client_ip):
    async def run():
        settings = {
            "KONG_TRUSTED_IPS": trusted,
            "KONG_REAL_IP_HEADER": "X-Forwarded-For",
            "KONG_REAL_IP_RECURSIVE": "on",
        }
        async with node() as one, kong(chat((one.address, 1)), **settings) as client:
            await client.ask(headers={"X-Forwarded-For": "203.0.113.9, 127.0.0.2"})
            return one.heads[0]

    assert f"X-Real-IP: {client_ip}\r\n" in asyncio.run(run())


def test_a_path_without_a_route_is_a_404():
    async def run():
        async with kong(chat()) as client:
            return await client.ask(path="/nowhere")

    answer = asyncio.run(run())
    assert answer.status == 404
    assert json.loads(answer.body)["message"] == "no Route matched with those values"


@pytest.mark.parametrize("length", [0, 1, 3_000_000], ids=["no body", "one byte", "three megabytes"])
def test_a_body_of_any_size_goes_there_and_back(length):
    async def run():
        async def echo(writer):
            await says(200, b"y" * length)(writer)

        async with node(echo) as one, kong(chat((one.address, 1))) as client:
            answer = await client.ask(data=b"x" * length)
            return len(one.seen[0][1]), len(answer.body)

    assert asyncio.run(run()) == (length, length)


WITHOUT_ITS_BODY = b"POST /chat HTTP/1.1\r\nHost: gateway\r\nContent-Length: 10000000\r\n\r\n"


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        pytest.param([{"name": "key-auth"}], b"HTTP/1.1 401 ", id="a client without a key"),
        pytest.param(
            [{"name": "request-size-limiting", "config": {"allowed_payload_size": 1}}],
            b"HTTP/1.1 413 ",
            id="a length over the limit",
        ),
    ],
)
def test_the_body_of_a_request_that_is_refused_is_not_waited_for(plugins, said):
    async def run():
        async with kong(chat(("127.0.0.1:1", 1), plugins=plugins)) as client:
            address = urlsplit(client.url)
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(WITHOUT_ITS_BODY)
            answer = await asyncio.wait_for(reader.read(64), timeout=5)
            writer.close()
            return answer

    assert asyncio.run(run()).startswith(said)


def test_a_client_that_asks_first_is_told_to_send_its_body():
    async def run():
        async with node() as one, kong(chat((one.address, 1))) as client:
            answer = await client.ask(data=b"x" * 100, expect100=True)
            return answer.status, len(one.seen[0][1])

    assert asyncio.run(run()) == (200, 100)
