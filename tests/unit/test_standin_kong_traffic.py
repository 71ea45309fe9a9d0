"""Which node Kong asks, and whether again, pinned on its stand-in. Nodes are real sockets.

What its plugins do is asked of the gateway in the lab, by `bin/verify` and `tests/e2e`.
"""

import asyncio
import socket
from contextlib import AsyncExitStack, asynccontextmanager, closing

import aiohttp
import pytest
import render
import yaml
from standins.kong.kong_standin.config import parse
from standins.kong.kong_standin.schema import PLUGINS
from standins.kong.kong_standin.server import Server
from standins.kong.kong_standin.settings import settings_of

FREE_PORTS = {f"KONG_{listener}_LISTEN": "127.0.0.1:0" for listener in ("PROXY", "STATUS")}
# Only who waits in vain needs to be short of patience: a good node may be slow on a busy machine.
PATIENCE = {"is off": {"connect_timeout": 500}, "is silent": {"read_timeout": 1000}}


def sends(*chunks, pause=0.0):
    """Answers with raw bytes, chunk by chunk."""

    async def write(writer):
        for chunk in chunks:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


def says(status):
    return sends(f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode())


BEHAVIOURS = {
    "answers": says(200),
    "hangs up": sends(),
    "is silent": sends(b"", pause=3600),
    "talks nonsense": sends(b"nonsense\r\n\r\n"),
    "is busy": says(503),
    "is broken": says(500),
}


@asynccontextmanager
async def node(write):
    """The address of a node that reads requests without a body, and an event: a client hung up too soon."""
    abandoned = asyncio.Event()

    async def serve(reader, writer):
        with closing(writer):
            try:
                await reader.readuntil(b"\r\n\r\n")
                await write(writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                abandoned.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", abandoned
    finally:
        server.close()


@asynccontextmanager
async def address_of_one_that(behaviour):
    """The address of a node; nobody listens there, or the queue is full and the kernel drops what comes."""
    async with AsyncExitStack() as stack:
        if behaviour in BEHAVIOURS:
            address, _ = await stack.enter_async_context(node(BEHAVIOURS[behaviour]))
        else:
            listening, *fillers = (stack.enter_context(socket.socket()) for _ in range(3))
            listening.bind(("127.0.0.1", 0))
            address = "{}:{}".format(*listening.getsockname())
            if behaviour == "is off":
                listening.listen(0)
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex(listening.getsockname())
        yield address


@asynccontextmanager
async def kong(*addresses, **service):
    """The gateway that ships, without a key, on these nodes: how to ask it, and which nodes are available."""
    tree = yaml.safe_load(render.render_role("kong")["/opt/aicluster/kong/secrets/kong.yml"])
    [pool] = [one for one in tree["upstreams"] if one["name"] == "ai-chat"]
    pool["targets"] = [{"target": address, "weight": 1, "tags": []} for address in addresses]
    # No probe comes in between.
    pool["healthchecks"]["active"]["healthy"]["interval"] = 3600
    pool["healthchecks"]["active"]["unhealthy"]["interval"] = 3600
    [chat] = [one for one in tree["services"] if one["name"] == "ai-openai"]
    chat |= {"connect_timeout": 5000, "read_timeout": 5000, **service}
    chat["routes"][0]["plugins"] = []
    environment = {
        name: text.replace("$$", "$") for name, text in render.container("kong")["environment"].items()
    }
    server = Server(settings_of(environment | FREE_PORTS), parse(yaml.safe_dump(tree), PLUGINS))
    await server.start()
    url = f"http://127.0.0.1:{server.runners[0].addresses[0][1]}/v1/"
    try:
        async with aiohttp.ClientSession() as session:
            yield (
                lambda method="POST": session.request(method, url),
                lambda: [one.available for one in server.gateway.now.checkers["ai-chat"].wheel.addresses],
            )
    finally:
        await server.end()


@pytest.mark.parametrize(("behaviour", "method", "statuses"), [
    pytest.param("refuses", "POST", [200, 200], id="a refused POST goes on to the next node"),
    pytest.param("is off", "POST", [200, 200], id="a POST goes on after the connect timeout"),
    pytest.param("hangs up", "POST", [200, 200], id="one that was sent is repeated while there is no answer"),
    pytest.param("is silent", "POST", [200, 200], id="also one that timed out"),
    pytest.param("talks nonsense", "GET", [200, 502], id="nonsense is not repeated"),
    pytest.param("is busy", "GET", [200, 503], id="an answer is an answer, also 503"),
])  # fmt: skip
async def test_what_is_tried_again(behaviour, method, statuses):
    """Of two requests to a good and a bad node one meets the bad one first."""
    async with (
        address_of_one_that(behaviour) as bad,
        address_of_one_that("answers") as good,
        kong(bad, good, **PATIENCE.get(behaviour, {})) as (ask, _),
    ):
        answers = [await ask(method) for _ in range(2)]
    assert sorted(answer.status for answer in answers) == statuses


@pytest.mark.parametrize(("behaviour", "others", "left", "last"), [
    pytest.param("refuses", ["answers"], [False, True], 200, id="a refused connection takes the node out"),
    pytest.param("refuses", [], [True], 502, id="a refused last try counts as a 502, not as a refusal"),
    pytest.param("is silent", [], [False], 504, id="a last try that timed out counts"),
])  # fmt: skip
async def test_a_request_counts_against_the_health_of_its_node(behaviour, others, left, last):
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(address_of_one_that(one)) for one in (behaviour, *others)]
        async with kong(*nodes, retries=len(others), **PATIENCE.get(behaviour, {})) as (ask, available):
            statuses = [(await ask()).status for _ in nodes]
            assert (available(), statuses[-1]) == (left, last)


@pytest.mark.parametrize(("behaviour", "left"), [("is broken", False), ("is busy", True)])
async def test_errors_in_a_row_take_a_node_out_but_not_a_busy_one(behaviour, left):
    async with address_of_one_that(behaviour) as address, kong(address) as (ask, available):
        for _ in range(5):
            await ask()
        assert available() == [left]


async def test_a_client_that_hangs_up_ends_the_request_on_the_node():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    endless = sends(head, *([b'8\r\n{"a":1}\n\r\n'] * 1000), pause=0.02)
    async with node(endless) as (address, abandoned), kong(address) as (ask, available):
        async with ask() as answer:
            await answer.content.readline()
            answer.close()
        await asyncio.wait_for(abandoned.wait(), 5)
        assert available() == [True]
