"""The stand-in for Kong passes WebSockets on as Kong does on routes of http: the key first, then bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from standin_kong import KEY, KEYS, Client, chat, kong, plugin

MEGABYTES = bytes(range(250)) * 12_000


@dataclass
class Talker:
    """A service behind the gateway that echoes what it hears on `/ws`."""

    address: str = ""
    heads: list[Any] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def talk(self, request: web.Request) -> web.StreamResponse:
        self.heads.append(request)
        if "Upgrade" not in request.headers:
            return web.Response(status=400, text="no WebSocket")
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        try:
            async for message in ws:
                if message.data == "leave":
                    break
                send = ws.send_str if message.type == WSMsgType.TEXT else ws.send_bytes
                await send(message.data)
        finally:
            self.left.set()
        return ws


@asynccontextmanager
async def conversation(**service: Any) -> AsyncIterator[tuple[Client, Talker]]:
    """A gateway and the talker behind it."""
    there, app = Talker(), web.Application()
    app.router.add_get("/ws", there.talk)
    async with asyncio.timeout(20), TestServer(app) as server:
        address = (f"127.0.0.1:{server.port}", 1)
        tree = chat(address, plugins=[plugin("key-auth")], path="/ws", **service)
        async with kong(tree | KEYS | {"plugins": [plugin("prometheus")]}) as client:
            yield client, there


async def test_texts_and_bytes_of_any_size_pass_both_ways_in_order():
    said: list[Any] = ["hello", b"\x00\xff" * 10, "", MEGABYTES[:200_000], MEGABYTES, "again"]
    async with conversation() as (client, there):
        url = client.url + "/chat?clientId=me"
        async with client.session.ws_connect(url, headers=KEY, max_msg_size=0) as ws:
            for one in said:
                await (ws.send_str(one) if isinstance(one, str) else ws.send_bytes(one))
            assert [(await ws.receive()).data for _ in said] == said
    [head] = there.heads
    assert head.raw_path == "/ws?clientId=me"
    assert (head.headers["Connection"], head.headers["Upgrade"]) == ("keep-alive, Upgrade", "websocket")
    assert "apikey" not in head.headers


@pytest.mark.parametrize("headers", [{}, {"apikey": "another"}], ids=["no key", "a wrong key"])
async def test_without_its_key_the_upgrade_is_refused_and_the_service_hears_nothing(headers):
    async with conversation() as (client, there):
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.session.ws_connect(client.url + "/chat", headers=headers)
    assert (refused.value.status, there.heads) == (401, [])


async def test_an_answer_that_is_no_upgrade_is_an_answer():
    async with conversation() as (client, there):
        plain = await client.ask("GET", headers=KEY)
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.session.ws_connect(client.url + "/chat/elsewhere", headers=KEY)
    assert (plain.status, plain.body, refused.value.status) == (400, b"no WebSocket", 404)
    # Who asks for no upgrade offers none.
    assert there.heads[0].headers["Connection"] == "keep-alive"


async def test_when_the_service_leaves_the_client_hears_the_end():
    async with (
        conversation() as (client, _),
        client.session.ws_connect(client.url + "/chat", headers=KEY) as ws,
    ):
        await ws.send_str("leave")
        assert (await ws.receive()).type == WSMsgType.CLOSE


@pytest.mark.parametrize("politely", [True, False], ids=["with a farewell", "by hanging up"])
async def test_when_the_client_leaves_so_does_its_connection_to_the_service_and_it_counts_as_a_101(politely):
    async with conversation() as (client, there):
        connection = await client.session.ws_connect(client.url + "/chat", headers=KEY)
        if politely:
            await connection.close()
        else:
            connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        await there.left.wait()
        while client.gateway.under_way:
            await asyncio.sleep(0.01)
        metrics = (await client.status("/metrics")).body.decode().splitlines()
    [line] = [line for line in metrics if "http_requests_total{" in line]
    assert 'code="101"' in line and line.endswith(" 1")


async def test_silence_ends_it_after_the_read_timeout_and_words_of_either_side_do_not():
    loop = asyncio.get_running_loop()
    async with (
        conversation(read_timeout=1000) as (client, _),
        client.session.ws_connect(client.url + "/chat", headers=KEY, autoping=False) as ws,
    ):
        began = loop.time()
        for _ in range(4):
            await asyncio.sleep(0.3)
            await ws.send_str("still here")
            await ws.receive()
        talked = loop.time() - began
        ended = (await ws.receive()).type
        silent = loop.time() - began - talked
    assert talked > 1.1
    assert 0.9 < silent < 5
    assert ended in {WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR}


async def test_what_a_client_sends_at_once_with_its_request_is_not_lost():
    request = (
        "GET /chat HTTP/1.1\r\nHost: x\r\napikey: secret\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    async with conversation() as (client, _):
        where = urlsplit(client.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        # A text of two letters under a mask of zeros (RFC 6455, 5.2).
        writer.write(request.encode() + b"\x81\x82\x00\x00\x00\x00hi")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        answer = await reader.readexactly(4)
        writer.close()
    assert head.startswith("HTTP/1.1 101 ")
    assert "\r\nUpgrade: websocket\r\n" in head
    # The answer to this key in RFC 6455, 1.3.
    assert "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert answer == b"\x81\x02hi"
