"""The stand-in for Kong passes WebSockets on as Kong does on routes of http: the key first, then bytes."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer
from standin_kong import chat, kong

CONSUMER = {"consumers": [{"username": "me", "keyauth_credentials": [{"key": "secret"}]}]}
KEY_AUTH = {"name": "key-auth", "config": {"hide_credentials": True}}
KEY = {"apikey": "secret"}


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
async def talker() -> AsyncIterator[Talker]:
    there = Talker()
    app = web.Application()
    app.router.add_get("/ws", there.talk)
    async with TestServer(app) as server:
        there.address = f"127.0.0.1:{server.port}"
        yield there


def tree(address: str, **service: Any) -> dict[str, Any]:
    return chat((address, 1), plugins=[KEY_AUTH], path="/ws", **service) | CONSUMER


def converse(conversation, **service):
    """Run a conversation with a gateway and the talker behind it; return what it returns."""

    async def run():
        async with talker() as there, kong(tree(there.address, **service)) as client:
            return await asyncio.wait_for(conversation(client, there), 20)

    return asyncio.run(run())


def hang_up(connection: ClientWebSocketResponse) -> None:
    """Close without a word."""
    connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def test_texts_and_bytes_pass_both_ways_in_order():
    said = ["hello", b"\x00\xff" * 10, "", "again"]

    async def conversation(client, there):
        async with client.session.ws_connect(client.url + "/chat?clientId=me", headers=KEY) as ws:
            for one in said:
                await (ws.send_str(one) if isinstance(one, str) else ws.send_bytes(one))
            return [(await ws.receive()).data for _ in said], there.heads[0]

    heard, head = converse(conversation)
    assert heard == said
    assert head.raw_path == "/ws?clientId=me"
    assert head.headers["Connection"] == "keep-alive, Upgrade" and head.headers["Upgrade"] == "websocket"
    assert "apikey" not in head.headers


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_a_message_of_any_size_goes_there_and_back(size):
    async def conversation(client, _there):
        url = client.url + "/chat"
        async with client.session.ws_connect(url, headers=KEY, max_msg_size=0) as ws:
            await ws.send_bytes(bytes(range(250)) * (size // 250))
            return (await ws.receive()).data

    assert converse(conversation) == bytes(range(250)) * (size // 250)


@pytest.mark.parametrize("headers", [{}, {"apikey": "another"}], ids=["no key", "a wrong key"])
def test_without_its_key_the_upgrade_is_refused_and_the_service_hears_nothing(headers):
    async def conversation(client, there):
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.session.ws_connect(client.url + "/chat", headers=headers)
        return refused.value.status, there.heads

    assert converse(conversation) == (401, [])


def test_an_answer_that_is_no_upgrade_is_an_answer():
    async def conversation(client, _there):
        plain = await client.ask("GET", headers=KEY)
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.session.ws_connect(client.url + "/chat/elsewhere", headers=KEY)
        return plain.status, plain.body, refused.value.status

    assert converse(conversation) == (400, b"no WebSocket", 404)


def test_when_the_service_leaves_the_client_hears_the_end():
    async def conversation(client, _there):
        async with client.session.ws_connect(client.url + "/chat", headers=KEY) as ws:
            await ws.send_str("leave")
            return (await ws.receive()).type

    assert converse(conversation) == WSMsgType.CLOSE


@pytest.mark.parametrize("politely", [True, False], ids=["with a farewell", "by hanging up"])
def test_when_the_client_leaves_so_does_its_connection_to_the_service(politely):
    async def conversation(client, there):
        connection = await client.session.ws_connect(client.url + "/chat", headers=KEY)
        if politely:
            await connection.close()
        else:
            hang_up(connection)
        await asyncio.wait_for(there.left.wait(), 5)
        while client.gateway.under_way:
            await asyncio.sleep(0.01)
        return True

    assert converse(conversation)


def test_silence_ends_it_after_the_read_timeout_and_words_of_either_side_do_not():
    async def conversation(client, _there):
        loop = asyncio.get_running_loop()
        async with client.session.ws_connect(client.url + "/chat", headers=KEY, autoping=False) as ws:
            began = loop.time()
            for _ in range(4):
                await asyncio.sleep(0.3)
                await ws.send_str("still here")
                await ws.receive()
            talked = loop.time() - began
            ended = (await ws.receive()).type
            return talked, loop.time() - began - talked, ended

    talked, silent, ended = converse(conversation, read_timeout=1000)
    assert talked > 1.1
    assert 0.9 < silent < 5
    assert ended in {WSMsgType.CLOSED, WSMsgType.CLOSE, WSMsgType.ERROR}


def test_what_a_client_sends_at_once_with_its_request_is_not_lost():
    key = "dGhlIHNhbXBsZSBub25jZQ=="
    request = (
        "GET /chat HTTP/1.1\r\nHost: x\r\napikey: secret\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    # A text of two letters under a mask of zeros (RFC 6455, 5.2).
    frame = b"\x81\x82\x00\x00\x00\x00hi"

    async def conversation(client, _there):
        where = urlsplit(client.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        writer.write(request.encode() + frame)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(4)
        writer.close()
        return head.decode(), answer

    head, answer = converse(conversation)
    assert head.startswith("HTTP/1.1 101 ")
    assert "\r\nUpgrade: websocket\r\n" in head
    # The answer to this key in RFC 6455, 1.3.
    assert "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert answer == b"\x81\x02hi"


@pytest.mark.parametrize("politely", [True, False], ids=["a farewell", "hanging up"])
def test_it_is_counted_as_a_101_whatever_its_end(politely):
    async def conversation(client):
        connection = await client.session.ws_connect(client.url + "/chat", headers=KEY)
        if politely:
            await connection.close()
        else:
            hang_up(connection)
        while client.gateway.under_way:
            await asyncio.sleep(0.01)
        metrics = await client.status("/metrics")
        return [line for line in metrics.body.decode().splitlines() if "http_requests_total{" in line]

    async def run():
        async with talker() as there:
            config = tree(there.address)
            config["plugins"] = [{"name": "prometheus", "config": {"status_code_metrics": True}}]
            async with kong(config) as client:
                return await asyncio.wait_for(conversation(client), 20)

    [line] = asyncio.run(run())
    assert 'code="101"' in line and line.endswith(" 1")


def test_a_request_that_asks_for_no_upgrade_offers_none():
    async def conversation(client, there):
        await client.ask("GET", headers=KEY)
        return dict(there.heads[0].headers)

    headers = converse(conversation)
    assert headers["Connection"] == "keep-alive" and "Upgrade" not in headers
