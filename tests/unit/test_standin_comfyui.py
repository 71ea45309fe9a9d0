"""The stand-in for ComfyUI keeps the rules of the real one that this project relies on."""

import asyncio
import json
import struct
import zlib

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standins.comfyui.comfyui_standin.cli_args import parser
from standins.comfyui.comfyui_standin.jobs import Folders, Jobs
from standins.comfyui.comfyui_standin.png import MAGIC, png
from standins.comfyui.comfyui_standin.server import Api

CHECKPOINT = "sd_xl_base_1.0.safetensors"
TINY = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 32, "batch_size": 1, "color": 0}},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


def text_to_image(**sampler):
    settings = {
        "seed": 7,
        "steps": 4,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
    }
    links = {"model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}
    return {
        "3": {"class_type": "KSampler", "inputs": {**settings, **links, **sampler}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": CHECKPOINT}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 2}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a boat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "ComfyUI"}},
    }


def without(graph, node, name):
    inputs = {key: value for key, value in graph[node]["inputs"].items() if key != name}
    return {**graph, node: {**graph[node], "inputs": inputs}}


@pytest.fixture
def folder(tmp_path):
    for name in ("input", "output", "temp", "models/checkpoints", "models/controlnet"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "models/checkpoints" / CHECKPOINT).write_bytes(b"made up")
    return tmp_path


def talk(folder, conversation, seconds=0.02, device="cpu"):
    """Run a conversation with a stand-in whose files are in `folder`; return what it returns."""

    async def run():
        api = Api(Jobs(Folders(folder), seconds), device, ["main.py"])
        async with TestClient(TestServer(api.application())) as client:
            return await asyncio.wait_for(conversation(client), 20)

    return asyncio.run(run())


async def queued(client, graph, **more):
    answer = await client.post("/prompt", json={"prompt": graph, **more})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["prompt_id"]


async def ended(client, prompt_id):
    while True:
        history = await (await client.get(f"/history/{prompt_id}")).json()
        if prompt_id in history:
            return history[prompt_id]
        await asyncio.sleep(0.01)


async def made(client, graph, **more):
    return await ended(client, await queued(client, graph, **more))


# --- pictures ---


def test_a_picture_is_a_png_that_decodes_to_its_size():
    picture = png(5, 3, 99, {"prompt": "{}"})
    assert picture.startswith(MAGIC)
    width, height = struct.unpack(">II", picture[16:24])
    start = picture.index(b"IDAT") + 4
    [length] = struct.unpack(">I", picture[start - 8 : start - 4])
    assert (width, height) == (5, 3)
    assert len(zlib.decompress(picture[start : start + length])) == height * (1 + width * 3)


def test_a_job_ends_with_pictures_that_view_shows(folder):
    async def conversation(client):
        job = await made(client, text_to_image())
        images = job["outputs"]["9"]["images"]
        shown = [await (await client.get("/view", params=image)).read() for image in images]
        return job, images, shown

    job, images, shown = talk(folder, conversation)
    assert job["status"]["status_str"] == "success" and job["status"]["completed"]
    assert [image["filename"] for image in images] == ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    assert all(picture.startswith(MAGIC) for picture in shown)
    assert json.dumps(text_to_image()).encode() in shown[0], "the graph is in the file"
    assert sorted(path.name for path in (folder / "output").iterdir()) == [i["filename"] for i in images]


def test_a_preview_leaves_nothing_in_the_outputs(folder):
    async def conversation(client):
        return await made(client, TINY)

    [image] = talk(folder, conversation)["outputs"]["2"]["images"]
    assert image["type"] == "temp"
    assert not list((folder / "output").iterdir())


def test_numbers_begin_anew_when_the_files_were_moved_away(folder):
    async def conversation(client):
        names = []
        for _ in range(2):
            job = await made(client, text_to_image())
            names.append(job["outputs"]["9"]["images"][0]["filename"])
            for path in (folder / "output").iterdir():
                path.unlink()
        return names

    assert talk(folder, conversation) == ["ComfyUI_00001_.png"] * 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param({"filename": "../main.py"}, 400, id="a way out by the name"),
        pytest.param({"filename": "/etc/passwd"}, 400, id="an absolute path"),
        pytest.param({"filename": "a.png", "subfolder": "../.."}, 403, id="a way out by the folder"),
        pytest.param({"filename": "a.png", "type": "user"}, 400, id="another kind of folder"),
        pytest.param({"filename": "a.png"}, 404, id="a file that is not there"),
        pytest.param({}, 404, id="no name"),
    ],
)
def test_view_shows_pictures_only(folder, query, status):
    async def conversation(client):
        return (await client.get("/view", params=query)).status

    assert talk(folder, conversation) == status


# --- what is refused ---


@pytest.mark.parametrize(
    ("graph", "kind", "node", "error"),
    [
        pytest.param({}, "prompt_no_outputs", None, None, id="an empty graph"),
        pytest.param({"1": TINY["1"]}, "prompt_no_outputs", None, None, id="nothing is shown"),
        pytest.param({"1": {"inputs": {}}}, "invalid_prompt", None, None, id="a node without a class"),
        pytest.param(
            {"1": {"class_type": "NoSuchNode", "inputs": {}}},
            "invalid_prompt",
            None,
            None,
            id="an unknown class",
        ),
        pytest.param(
            without(TINY, "1", "width"),
            "prompt_outputs_failed_validation",
            "1",
            "required_input_missing",
            id="a missing input",
        ),
        pytest.param(
            {**TINY, "2": {"class_type": "PreviewImage", "inputs": {"images": ["9", 0]}}},
            "prompt_outputs_failed_validation",
            "2",
            "bad_linked_input",
            id="a link to nowhere",
        ),
        pytest.param(
            text_to_image(model=["6", 0]),
            "prompt_outputs_failed_validation",
            "3",
            "return_type_mismatch",
            id="a link to the wrong kind of output",
        ),
        pytest.param(
            {**text_to_image(), "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x"}}},
            "prompt_outputs_failed_validation",
            "4",
            "value_not_in_list",
            id="a checkpoint nobody has",
        ),
        pytest.param(
            text_to_image(steps=0),
            "prompt_outputs_failed_validation",
            "3",
            "value_smaller_than_min",
            id="too few steps",
        ),
        pytest.param(
            text_to_image(cfg=101),
            "prompt_outputs_failed_validation",
            "3",
            "value_bigger_than_max",
            id="too much guidance",
        ),
        pytest.param(
            text_to_image(steps="many"),
            "prompt_outputs_failed_validation",
            "3",
            "invalid_input_type",
            id="a word for a number",
        ),
    ],
)
def test_a_graph_that_cannot_run_is_a_400_that_names_the_node(folder, graph, kind, node, error):
    async def conversation(client):
        answer = await client.post("/prompt", json={"prompt": graph})
        return answer.status, await answer.json(), await (await client.get("/prompt")).json()

    status, body, left = talk(folder, conversation)
    assert (status, body["error"]["type"]) == (400, kind)
    assert left["exec_info"]["queue_remaining"] == 0
    if node is None:
        assert body["node_errors"] == []
    else:
        assert [found["type"] for found in body["node_errors"][node]["errors"]] == [error]


def test_a_body_without_a_prompt_is_a_400(folder):
    async def conversation(client):
        answer = await client.post("/prompt", json={})
        return answer.status, (await answer.json())["error"]

    assert talk(folder, conversation) == (400, "no prompt")


# --- the queue ---


def test_jobs_run_one_at_a_time_and_front_goes_first(folder):
    async def conversation(client):
        names = [await queued(client, text_to_image(seed=seed)) for seed in range(2)]
        first = await queued(client, text_to_image(seed=9), front=True)
        queue = await (await client.get("/queue")).json()
        for name in [*names, first]:
            await ended(client, name)
        return names, first, queue, list(await (await client.get("/history")).json())

    names, first, queue, order = talk(folder, conversation, seconds=0.1)
    assert [job[1] for job in queue["queue_running"]] in ([], [names[0]])
    assert order.index(first) < order.index(names[1])


def test_a_waiting_job_can_be_taken_off_and_the_queue_be_cleared(folder):
    async def conversation(client):
        names = [await queued(client, text_to_image(seed=seed)) for seed in range(4)]
        await asyncio.sleep(0.05)
        await client.post("/queue", json={"delete": [names[1]]})
        some = await (await client.get("/queue")).json()
        await client.post("/queue", json={"clear": True})
        none = await (await client.get("/queue")).json()
        return names, some["queue_pending"], none["queue_pending"]

    names, some, none = talk(folder, conversation, seconds=1)
    assert [job[1] for job in some] == names[2:]
    assert none == []


def test_an_interrupted_job_ends_at_its_next_step_and_says_so(folder):
    async def conversation(client):
        name = await queued(client, text_to_image(steps=20))
        await asyncio.sleep(0.1)
        await client.post("/interrupt")
        return await ended(client, name)

    job = talk(folder, conversation, seconds=10)
    assert job["status"]["status_str"] == "error" and not job["status"]["completed"]
    assert job["status"]["messages"][-1][0] == "execution_interrupted"
    assert job["outputs"] == {}


def test_history_can_be_forgotten(folder):
    async def conversation(client):
        name = await queued(client, TINY)
        await ended(client, name)
        await client.post("/history", json={"delete": [name]})
        return await (await client.get(f"/history/{name}")).json()

    assert talk(folder, conversation) == {}


# --- events ---


def test_the_client_that_queued_hears_of_its_job(folder):
    async def conversation(client):
        events: list[tuple[str, object]] = []
        previews = 0
        async with (
            client.ws_connect("/ws?clientId=me") as socket,
            client.ws_connect("/ws?clientId=you") as other,
        ):
            name = await queued(client, text_to_image(), client_id="me")
            while not events or events[-1] != ("executing", None):
                message = await socket.receive()
                if isinstance(message.data, bytes):
                    previews += struct.unpack(">I", message.data[:4])[0] == 1
                    continue
                event = json.loads(message.data)
                node = (
                    event["data"].get("node") if event["type"] == "executing" else event["data"].get("value")
                )
                events.append((event["type"], node))
                if event["type"] != "status":
                    assert event["data"]["prompt_id"] == name
            heard = {json.loads((await other.receive()).data)["type"] for _ in range(2)}
        return events, previews, heard

    events, previews, heard = talk(folder, conversation)
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "status"
    assert [value for kind, value in events if kind == "progress"] == [1, 2, 3, 4]
    assert kinds.index("execution_start") < kinds.index("executing") < kinds.index("executed")
    assert kinds[-2:] == ["execution_success", "executing"]
    assert previews == 4
    assert heard == {"status"}, "another client hears of the queue only"


def test_a_client_that_comes_back_hears_which_node_is_at_work(folder):
    async def conversation(client):
        name = await queued(client, text_to_image(), client_id="me")
        await asyncio.sleep(0.1)
        heard = {}
        for who in ("me", "you"):
            async with client.ws_connect(f"/ws?clientId={who}") as socket:
                first = [json.loads((await socket.receive()).data) for _ in range(1 + (who == "me"))]
                heard[who] = [(event["type"], event["data"].get("node")) for event in first]
        await ended(client, name)
        return heard

    heard = talk(folder, conversation, seconds=1)
    assert heard["me"] == [("status", None), ("executing", "3")]
    assert heard["you"] == [("status", None)]


# --- the rest ---


def test_a_model_takes_memory_until_it_is_freed(folder):
    async def conversation(client):
        async def free():
            stats = await (await client.get("/system_stats")).json()
            return stats["devices"][0]["vram_free"]

        before = await free()
        await made(client, text_to_image())
        during = await free()
        await client.post("/free", json={"unload_models": True, "free_memory": True})
        return before, during, await free()

    before, during, after = talk(folder, conversation)
    assert during < before == after


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_it_computes_on_what_it_was_told(folder, device):
    async def conversation(client):
        return await (await client.get("/system_stats")).json()

    assert talk(folder, conversation, device=device)["devices"][0]["type"] == device


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    "path",
    ["/system_stats", "/prompt", "/queue", "/history", "/models", "/models/checkpoints", "/object_info"],
)
def test_every_path_answers_below_api_too(folder, prefix, path):
    async def conversation(client):
        answer = await client.get(prefix + path)
        return answer.status, await answer.json()

    assert talk(folder, conversation)[0] == 200


def test_models_are_the_files_that_lie_there(folder):
    async def conversation(client):
        known = await (await client.get("/models/checkpoints")).json()
        info = await (await client.get("/object_info/CheckpointLoaderSimple")).json()
        return known, info, (await client.get("/models/nothing")).status

    known, info, unknown = talk(folder, conversation)
    assert (known, unknown) == ([CHECKPOINT], 404)
    assert info["CheckpointLoaderSimple"]["input"]["required"]["ckpt_name"] == [[CHECKPOINT]]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("--disable-dynamic-vram", id="an option it does not know"),
        pytest.param("--cpu --lowvram", id="two ways to use memory"),
    ],
)
def test_a_wrong_command_line_ends_the_program(line):
    with pytest.raises(SystemExit):
        parser().parse_args(line.split())
