"""Which node the stand-in for Kong asks, and whether again, as Kong is documented to. Nodes are real sockets.

Nodes that refuse and lose power, clients that hang up, and what plugins do: `tests/e2e`, in the lab.
"""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, closing

import aiohttp
import pytest
import render
import yaml
from standin_kong import serving
from standins.kong.kong_standin.balancer import Wheel
from standins.kong.kong_standin.config import Target

ANSWERS, BUSY, BROKEN = (
    [f"HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n\r\n".encode()] for status in (200, 503, 500)
)
HANGS_UP: list[bytes] = []
NONSENSE, SILENT = [b"nonsense\r\n\r\n"], None


@asynccontextmanager
async def node(chunks):
    """The address of a node that answers so."""

    async def serve(reader, writer):
        with closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            if chunks is SILENT:
                await asyncio.sleep(3600)
            writer.writelines(chunks)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


@asynccontextmanager
async def kong(*addresses, patience_s=5):
    """The gateway that ships, without a key, on these nodes: how to ask it, and which nodes are available."""
    tree = yaml.safe_load(render.render_role("kong")["/opt/aicluster/kong/secrets/kong.yml"])
    [pool] = [one for one in tree["upstreams"] if one["name"] == "ai-chat"]
    pool["targets"] = [{"target": address, "weight": 1, "tags": []} for address in addresses]
    # No probe comes in between.
    for state in ("healthy", "unhealthy"):
        pool["healthchecks"]["active"][state]["interval"] = 3600
    [chat] = [one for one in tree["services"] if one["name"] == "ai-openai"]
    chat |= {"connect_timeout": 5000, "read_timeout": patience_s * 1000, "retries": len(addresses) - 1}
    chat["routes"][0]["plugins"] = []
    async with serving(yaml.safe_dump(tree)) as (server, url), aiohttp.ClientSession() as session:
        yield (
            lambda: session.post(f"{url}/v1/"),
            lambda: [one.available for one in server.gateway.now.checkers["ai-chat"].wheel.addresses],
        )


def test_a_consumer_keeps_a_target_until_it_is_away_and_consumers_have_different_ones():
    wheel = Wheel([Target(name, name, 1, 1, ()) for name in ("one", "two")])
    mine = {f"consumer {number}": wheel.pick(f"consumer {number}") for number in range(20)}
    assert {address.target.name for address in mine.values()} == {"one", "two"}
    assert all(wheel.pick(consumer) is address for consumer, address in mine.items())
    away, there = wheel.addresses
    away.available = False
    assert {wheel.pick(consumer) for consumer in mine} == {there}
    away.available = True
    assert all(wheel.pick(consumer) is address for consumer, address in mine.items())


@pytest.mark.parametrize(("nodes", "statuses", "available"), [
    pytest.param([HANGS_UP, ANSWERS], [200, 200], [False, True], id="what was sent is repeated, and counts"),
    pytest.param([SILENT, ANSWERS], [200, 200], [False, True], id="so is what timed out"),
    pytest.param([NONSENSE, ANSWERS], [200, 502], [True, True], id="nonsense is not repeated"),
    pytest.param([BUSY, ANSWERS], [200, 503], [True, True], id="an answer is an answer, also 503"),
    pytest.param([HANGS_UP], [502], [True], id="a last try that fails counts as a 502, not as a refusal"),
    pytest.param([SILENT], [504], [False], id="a last try that timed out counts"),
    pytest.param([BROKEN], [500] * 5, [False], id="errors in a row take a node out"),
    pytest.param([BUSY], [503] * 5, [True], id="but not a busy one"),
])  # fmt: skip
async def test_requests_are_tried_again_and_count_against_their_nodes(nodes, statuses, available):
    """Of two requests to two nodes one meets the first node first."""
    async with AsyncExitStack() as stack:
        addresses = [await stack.enter_async_context(node(one)) for one in nodes]
        # Only who waits in vain needs to be short of patience: a good node may be slow on a busy machine.
        ask, left = await stack.enter_async_context(kong(*addresses, patience_s=1 if SILENT in nodes else 5))
        assert sorted([(await ask()).status for _ in statuses]) == statuses
        assert left() == available
