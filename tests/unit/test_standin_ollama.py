"""The stand-in for Ollama keeps the rules of the real one that this project relies on."""

import asyncio
import json
from hashlib import sha256

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from standins.ollama.ollama_standin.names import parse
from standins.ollama.ollama_standin.scheduler import Scheduler, seconds
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


async def pulled(client, name):
    answer = await client.post("/api/pull", json={"model": name})
    return [json.loads(line) for line in (await answer.text()).splitlines()]


@pytest.mark.parametrize(
    ("text", "short", "path"),
    [
        pytest.param(
            "llama3.2",
            "llama3.2:latest",
            "registry.ollama.ai/library/llama3.2/latest",
            id="no tag means latest",
        ),
        pytest.param("me/m:1b", "me/m:1b", "registry.ollama.ai/me/m/1b", id="a namespace is kept"),
        pytest.param(
            "pi52:5000/library/m:1b",
            "pi52:5000/library/m:1b",
            "pi52:5000/library/m/1b",
            id="a host may have a port",
        ),
    ],
)
def test_names_are_read_as_ollama_reads_them(text, short, path):
    assert (parse(text).short, str(parse(text).path)) == (short, path)


def test_a_pull_ends_with_success_and_the_digest_is_that_of_the_manifest_file(tmp_path):
    async def conversation(client):
        lines = await pulled(client, "llama3.2:1b")
        tags = await (await client.get("/api/tags")).json()
        return lines, tags["models"]

    lines, [model] = talk(tmp_path, conversation)
    assert lines[0] == {"status": "pulling manifest"}
    assert lines[-1] == {"status": "success"}
    assert all(line["completed"] <= line["total"] for line in lines if "completed" in line)
    manifest = tmp_path / "manifests/registry.ollama.ai/library/llama3.2/1b"
    assert model["digest"] == sha256(manifest.read_bytes()).hexdigest()


def test_a_pull_is_resumed_where_the_client_hung_up(tmp_path):
    async def conversation(client):
        answer = await client.post("/api/pull", json={"model": "m"})
        async for line in answer.content:
            if json.loads(line).get("completed", 0) > 0:
                break
        answer.close()
        await asyncio.sleep(0.2)
        partial = next((tmp_path / "blobs").glob("*-partial")).stat().st_size
        return partial, await pulled(client, "m")

    partial, lines = talk(tmp_path, conversation, rate=2_000_000)
    first = next(line for line in lines if "completed" in line)
    assert 0 < partial <= first["completed"]
    assert lines[-1] == {"status": "success"}


def test_two_pulls_of_one_model_at_a_time_do_not_disturb_each_other(tmp_path):
    async def conversation(client):
        return await asyncio.gather(pulled(client, "m"), pulled(client, "m"))

    assert [lines[-1] for lines in talk(tmp_path, conversation, rate=4_000_000)] == [
        {"status": "success"}
    ] * 2
    for blob in (tmp_path / "blobs").iterdir():
        assert blob.name == f"sha256-{sha256(blob.read_bytes()).hexdigest()}"


def test_a_damaged_partial_file_is_found_and_pulled_anew(tmp_path):
    async def conversation(client):
        answer = await client.post("/api/pull", json={"model": "m"})
        async for line in answer.content:
            if json.loads(line).get("completed", 0) > 0:
                break
        answer.close()
        await asyncio.sleep(0.2)
        next((tmp_path / "blobs").glob("*-partial")).write_bytes(b"damaged")
        return [(await pulled(client, "m"))[-1] for _ in range(2)]

    first, second = talk(tmp_path, conversation, rate=2_000_000)
    assert first["error"].startswith("digest mismatch, file must be downloaded again: want sha256:")
    assert second == {"status": "success"}


def test_a_pull_of_a_model_nobody_published_ends_with_an_error_line(tmp_path):
    lines = talk(tmp_path, lambda client: pulled(client, "missing-model"))
    assert lines[-1] == {"error": "pull model manifest: file does not exist"}


def test_a_copy_has_the_digest_of_its_source_and_outlives_it(tmp_path):
    async def conversation(client):
        await pulled(client, "m")
        copied = await client.post("/api/copy", json={"source": "m", "destination": "chat"})
        deleted = await client.delete("/api/delete", json={"model": "m"})
        answer = await client.post("/api/chat", json={"model": "chat", "messages": [], "stream": False})
        return copied.status, deleted.status, answer.status

    assert talk(tmp_path, conversation) == (200, 200, 200)


@pytest.mark.parametrize(
    ("method", "path", "body", "text"),
    [
        pytest.param("POST", "/api/chat", {"model": "x"}, "model 'x' not found", id="a chat"),
        pytest.param("POST", "/api/generate", {"model": "x"}, "model 'x' not found", id="a prompt"),
        pytest.param(
            "POST", "/v1/chat/completions", {"model": "x"}, "model 'x' not found", id="an OpenAI chat"
        ),
        pytest.param(
            "POST", "/api/copy", {"source": "x", "destination": "y"}, 'model "x" not found', id="a copy"
        ),
        pytest.param("DELETE", "/api/delete", {"model": "x"}, "model 'x' not found", id="a deletion"),
    ],
)
def test_an_unknown_model_is_a_404_with_its_name(tmp_path, method, path, body, text):
    async def conversation(client):
        answer = await client.request(method, path, json=body)
        return answer.status, await answer.json()

    assert talk(tmp_path, conversation) == (404, {"error": text})


def test_a_chat_streams_one_object_a_line_and_the_last_has_the_counts(tmp_path):
    async def conversation(client):
        await pulled(client, "m")
        answer = await client.post(
            "/api/chat", json={"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        )
        return answer.content_type, [json.loads(line) for line in (await answer.text()).splitlines()]

    media, lines = talk(tmp_path, conversation)
    assert media == "application/x-ndjson"
    assert [line["done"] for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1]["eval_count"] == len(lines) - 1


@pytest.mark.parametrize(
    ("keep_alive", "reason"),
    [(None, "load"), (0, "unload")],
    ids=["an empty prompt loads", "with keep_alive 0 it unloads"],
)
def test_an_empty_prompt_only_moves_the_model(tmp_path, keep_alive, reason):
    async def conversation(client):
        await pulled(client, "m")
        body = {"model": "m", "keep_alive": keep_alive}
        answer = await (await client.post("/api/generate", json=body)).json(content_type=None)
        return answer, [m["name"] for m in (await (await client.get("/api/ps")).json())["models"]]

    answer, running = talk(tmp_path, conversation)
    assert (answer["response"], answer["done_reason"]) == ("", reason)
    assert running == (["m:latest"] if reason == "load" else [])


def test_an_openai_stream_ends_with_done(tmp_path):
    async def conversation(client):
        await pulled(client, "m")
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
        answer = await client.post("/v1/chat/completions", json=body)
        return answer.content_type, await answer.text()

    media, text = talk(tmp_path, conversation)
    assert media == "text/event-stream"
    assert text.endswith("data: [DONE]\n\n")


def test_a_full_queue_of_loads_is_a_503(tmp_path):
    async def conversation(client):
        await pulled(client, "a")
        await pulled(client, "b")
        body = {"messages": [{"role": "user", "content": "hi"}], "stream": False}
        requests = [client.post("/api/chat", json={**body, "model": name}) for name in ("a", "b")]
        answers = await asyncio.gather(*requests)
        return sorted([(answer.status, (await answer.json()).get("error")) for answer in answers])

    assert talk(tmp_path, conversation, max_queue=1, load_seconds=0.2) == [(200, None), (503, BUSY)]


def test_a_loaded_model_queues_without_limit_and_never_says_503():
    async def run():
        models = scheduler(max_queue=1)
        async with models.use("a"):
            waiting = [asyncio.create_task(hold(models, "a")) for _ in range(20)]
            await asyncio.sleep(0.05)
        await asyncio.gather(*waiting)

    async def hold(models, name):
        async with models.use(name):
            pass

    asyncio.run(run())


def test_the_model_that_expires_first_makes_room():
    async def run():
        models = scheduler(max_loaded=1)
        for name in ("a", "b"):
            async with models.use(name):
                pass
        return list(models.running())

    assert asyncio.run(run()) == ["b"]


def test_a_keep_alive_of_zero_unloads_at_once():
    async def run():
        models = scheduler()
        async with models.use("a", 0):
            pass
        return list(models.running())

    assert asyncio.run(run()) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("30", 30.0),
        (0, 0.0),
        (-1, float("inf")),
        ("-1s", float("inf")),
        (None, 7.0),
    ],
)
def test_durations_are_read_as_ollama_reads_them(text, expected):
    assert seconds(text, 7.0) == expected


def test_the_rate_of_a_pull_can_be_changed_while_it_runs(tmp_path):
    rate = tmp_path / "standin-pull-rate"
    rate.write_text("1000")

    async def conversation(client):
        running = asyncio.create_task(pulled(client, "m"))
        await asyncio.sleep(0.3)
        slow = not running.done()
        rate.write_text("0")
        return slow, await asyncio.wait_for(running, 5)

    slow, lines = talk(tmp_path, conversation)
    assert slow, "a quarter of a megabyte takes minutes at a kilobyte per second"
    assert lines[-1] == {"status": "success"}


# --- another registry than the public one ---


def registry(folder, **faults):
    """A registry in front of a folder of models, in plain http; what it is asked is in `asked`."""
    asked: list[tuple[str, str, str | None]] = []

    async def answer(request):
        asked.append((request.method, request.path, request.headers.get("Range")))
        _, _, namespace, model, kind, last = request.path.split("/")
        if kind == "manifests":
            path = folder / "manifests/registry.ollama.ai" / namespace / model / last
        else:
            path = folder / "blobs" / last.replace(":", "-")
        if not path.is_file():
            return web.Response(status=404)
        content = path.read_bytes()
        if kind == "manifests":
            return web.Response(body=content)
        headers = {} if faults.get("location") is False else {"Location": request.path}
        if asked_for := request.headers.get("Range"):
            start = int(asked_for.removeprefix("bytes=").split("-")[0])
            cut = faults.get("cut") if len([one for one in asked if one[2]]) == 1 else None
            return web.Response(status=206, body=content[start:][:cut], headers=headers)
        return web.Response(body=content, headers=headers)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", answer)])
    return app, asked


def copied(source, target, *, insecure=True, **faults):
    """Pull a model into `source`, then from there into `target`; return lines per try, requests, names."""

    async def conversation(client):
        await pulled(client, "m")
        app, asked = registry(source, **faults)
        async with TestServer(app) as mirror:
            name = f"127.0.0.1:{mirror.port}/library/m:latest"
            tries = []
            api = Api(Settings(target, 0, 0.0), scheduler())
            async with TestClient(TestServer(api.application())) as other:
                for _ in range(2):
                    body = {"model": name, "insecure": insecure}
                    answer = await other.post("/api/pull", json=body)
                    tries.append([json.loads(line) for line in (await answer.text()).splitlines()])
                await other.post("/api/copy", json={"source": name, "destination": "m"})
                await other.delete("/api/delete", json={"model": name})
                listed = (await (await other.get("/api/tags")).json())["models"]
        return tries, asked, {model["name"]: model["digest"] for model in listed}

    return talk(source, conversation)


def test_a_model_copied_from_another_registry_is_the_same_model(tmp_path):
    tries, asked, names = copied(tmp_path / "a", tmp_path / "b")
    manifest = (tmp_path / "a/manifests/registry.ollama.ai/library/m/latest").read_bytes()
    assert tries[0][-1] == {"status": "success"}
    assert names == {"m:latest": sha256(manifest).hexdigest()}
    assert {path.name for path in (tmp_path / "a/blobs").iterdir()} == {
        path.name for path in (tmp_path / "b/blobs").iterdir()
    }
    assert len([one for one in asked if one[2] == "bytes=0-"]) == 4, "every blob once"


def test_a_copy_that_broke_off_goes_on_where_it_stopped(tmp_path):
    tries, asked, names = copied(tmp_path / "a", tmp_path / "b", cut=100_000)
    assert tries[0][-1] == {"error": "max retries exceeded: unexpected EOF"}
    assert tries[1][-1] == {"status": "success"}
    assert [one[2] for one in asked if one[2]][:2] == ["bytes=0-", "bytes=100000-"]
    assert list(names) == ["m:latest"]


def test_a_registry_must_send_a_location_with_blobs(tmp_path):
    tries, _, names = copied(tmp_path / "a", tmp_path / "b", location=False)
    assert tries[0][-1] == {"error": "http: no Location header in response"}
    assert not names


def test_without_insecure_no_registry_is_asked_in_plain_http(tmp_path):
    tries, asked, _ = copied(tmp_path / "a", tmp_path / "b", insecure=False)
    assert "http: server gave HTTP response to HTTPS client" in tries[0][-1]["error"]
    assert not asked


def test_a_model_another_registry_lacks_is_an_error_line(tmp_path):
    async def conversation(client):
        async with TestServer(registry(tmp_path)[0]) as mirror:
            body = {"model": f"127.0.0.1:{mirror.port}/library/x:1", "insecure": True}
            answer = await client.post("/api/pull", json=body)
            return [json.loads(line) for line in (await answer.text()).splitlines()]

    lines = talk(tmp_path, conversation)
    assert lines[-1] == {"error": "pull model manifest: file does not exist"}


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
