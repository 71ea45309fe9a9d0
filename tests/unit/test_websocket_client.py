"""The WebSocket client of the tests, talking to a server of another maker."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import websocket_client
from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.StreamResponse:
    if request.headers.get("apikey") != "secret":
        return web.Response(status=401)
    ws = web.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    await ws.send_str(f"hello {request.query.get('clientId')}")
    async for message in ws:
        if message.data == "leave":
            break
        if message.data == "ping":
            await ws.ping(b"are you there")
        if message.data == "hang up" and request.transport:
            request.transport.abort()
        send = ws.send_str if message.type == WSMsgType.TEXT else ws.send_bytes
        await send(message.data)
    return ws


@contextmanager
def serving() -> Iterator[str]:
    ready = threading.Event()
    url, end = "", asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal url
        app = web.Application()
        app.router.add_get("/ws", echo)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/ws"
        ready.set()
        await end.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    ready.wait(10)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()
        loop.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as found:
        yield found


@pytest.mark.parametrize(
    "message",
    ["", "a word", b"\x00\xff", "x" * 126, b"y" * 65_535, b"z" * 65_536, "again" * 100_000],
    ids=lambda message: f"{type(message).__name__} of {len(message)}",
)
def test_a_message_of_any_size_goes_there_and_back(url, message):
    with websocket_client.connect(url, "secret") as ws:
        ws.receive()
        ws.send(message)
        assert ws.receive() == message


def test_the_query_and_the_key_arrive(url):
    with websocket_client.connect(f"{url}?clientId=me", "secret") as ws:
        assert ws.receive() == "hello me"


def test_a_ping_is_answered_and_is_no_message(url):
    with websocket_client.connect(url, "secret") as ws:
        ws.receive()
        ws.send("ping")
        assert ws.receive() == "ping"


def test_a_good_bye_is_the_end(url):
    with websocket_client.connect(url, "secret") as ws:
        ws.receive()
        ws.send("leave")
        assert ws.receive() is None


def test_a_cut_connection_is_no_good_bye(url):
    with websocket_client.connect(url, "secret") as ws:
        ws.receive()
        ws.send("hang up")
        with pytest.raises((EOFError, ConnectionError)):
            ws.receive()


@pytest.mark.parametrize(("key", "status"), [(None, 401), ("another", 401)])
def test_a_refusal_has_its_status(url, key, status):
    with pytest.raises(websocket_client.RefusedError) as refused, websocket_client.connect(url, key):
        pass
    assert refused.value.status == status
