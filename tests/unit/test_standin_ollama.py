"""The stand-in for Ollama keeps the rules of the real one that no end-to-end test shows."""

import asyncio
import json

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standins.ollama.ollama_standin.scheduler import Scheduler
from standins.ollama.ollama_standin.server import BUSY, Api, Settings


def scheduler(**changes):
    return Scheduler(**{"max_loaded": 3, "max_queue": 4, "num_parallel": 1, "keep_alive_s": 60.0, **changes})


def talk(folder, conversation, rate=0, **limits):
    """Run a conversation with a stand-in whose models are in `folder`; return what it returns."""

    async def run():
        api = Api(Settings(folder, rate, 0.0), scheduler(**limits))
        async with TestClient(TestServer(api.application())) as client:
            return await conversation(client)

    return asyncio.run(run())


async def pulled(client, name, **more):
    answer = await client.post("/api/pull", json={"model": name, **more})
    return [json.loads(line) for line in (await answer.text()).splitlines()]


@pytest.mark.parametrize(
    ("damaged", "ends"),
    [
        pytest.param(False, {"status": "success"}, id="it is resumed"),
        pytest.param(True, {"error": "digest mismatch, file must be downloaded again"}, id="damage is found"),
    ],
)
def test_a_pull_whose_client_hung_up_leaves_a_partial_file(tmp_path, damaged, ends):
    async def conversation(client):
        answer = await client.post("/api/pull", json={"model": "m"})
        async for line in answer.content:
            if json.loads(line).get("completed", 0) > 0:
                break
        answer.close()
        await asyncio.sleep(0.2)
        partial = next((tmp_path / "blobs").glob("*-partial"))
        size = partial.stat().st_size
        if damaged:
            partial.write_bytes(b"damaged")
        return size, [await pulled(client, "m") for _ in range(2)]

    size, (first, second) = talk(tmp_path, conversation, rate=2_000_000)
    [(key, words)] = ends.items()
    assert first[-1][key].startswith(words)
    assert second[-1] == {"status": "success"}
    if not damaged:
        assert 0 < size <= next(line["completed"] for line in first if "completed" in line)


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        pytest.param("POST", "/api/chat", {"model": "x"}, "model 'x' not found", id="a chat"),
        pytest.param(
            "POST", "/api/copy", {"source": "x", "destination": "y"}, 'model "x" not found', id="copy"
        ),
        pytest.param("DELETE", "/api/delete", {"model": "x"}, "model 'x' not found", id="a deletion"),
    ],
)
def test_an_unknown_model_is_a_404_with_its_name(tmp_path, method, path, body, text):
    async def conversation(client):
        answer = await client.request(method, path, json=body)
        return answer.status, await answer.json()

    assert talk(tmp_path, conversation) == (404, {"error": text})


def test_a_full_queue_of_loads_is_a_503(tmp_path):
    async def conversation(client):
        await pulled(client, "a")
        await pulled(client, "b")
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": False}
        requests = [client.post("/api/chat", json={**body, "model": name}) for name in ("a", "b")]
        answers = await asyncio.gather(*requests)
        return sorted([(answer.status, (await answer.json()).get("error")) for answer in answers])

    assert talk(tmp_path, conversation, max_queue=1, load_seconds=0.2) == [(200, None), (503, BUSY)]


def test_without_insecure_no_registry_is_asked_in_plain_http(tmp_path):
    lines = talk(tmp_path, lambda client: pulled(client, "127.0.0.1:1/library/m:latest"))
    assert "http: server gave HTTP response to HTTPS client" in lines[-1]["error"]


def test_a_deletion_takes_the_blobs_nobody_else_uses_and_no_other(tmp_path):
    async def conversation(client):
        await pulled(client, "m")
        await client.post("/api/copy", json={"source": "m", "destination": "chat"})
        counts = []
        for name in ("m", "chat"):
            await client.delete("/api/delete", json={"model": name})
            counts.append(len(list((tmp_path / "blobs").iterdir())))
        return counts

    other = tmp_path / "blobs" / ("sha256-" + "0" * 64)
    other.parent.mkdir()
    other.write_text("a blob of a pull that is under way")
    assert talk(tmp_path, conversation) == [5, 1]
