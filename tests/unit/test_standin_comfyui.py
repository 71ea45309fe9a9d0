"""The stand-in for ComfyUI keeps the rules of the real one that this project relies on."""

import asyncio
import json
import struct
import zlib
from typing import Any

import pictures
import pytest
from standing_in import ask, comfyui, talk
from standins.comfyui.comfyui_standin.cli_args import parser
from standins.comfyui.comfyui_standin.png import MAGIC, png

# From text to a saved picture, as the end-to-end tests order it.
ORDER = pictures.graph("ComfyUI")


def with_inputs(node: str, **changed: Any) -> dict[str, Any]:
    """The order with other inputs of a node; None takes one away."""
    inputs = {
        name: value for name, value in {**ORDER[node]["inputs"], **changed}.items() if value is not None
    }
    return {**ORDER, node: {**ORDER[node], "inputs": inputs}}


async def queued(client, graph, **more):
    answer = await client.post("/prompt", json={"prompt": graph, **more})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["prompt_id"]


async def ended(client, prompt_id):
    while prompt_id not in (history := await (await client.get(f"/history/{prompt_id}")).json()):
        await asyncio.sleep(0.01)
    return history[prompt_id]


def test_a_picture_is_a_png_that_decodes_to_its_size():
    picture = png(5, 3, 99)
    width, height = struct.unpack(">II", picture[16:24])
    start = picture.index(b"IDAT") + 4
    [length] = struct.unpack(">I", picture[start - 8 : start - 4])
    assert (width, height) == (5, 3)
    assert len(zlib.decompress(picture[start : start + length])) == height * (1 + width * 3)


def test_a_job_ends_with_pictures_that_view_shows_until_they_are_moved_away(tmp_path):
    async def conversation(client):
        seen = []
        for _ in range(2):
            job = await ended(client, await queued(client, with_inputs("5", batch_size=2)))
            images = job["outputs"]["9"]["images"]
            assert job["status"]["status_str"] == "success"
            assert (await (await client.get("/view", params=images[0])).read()).startswith(MAGIC)
            for path in (tmp_path / "output").iterdir():
                path.unlink()
            seen.append([image["filename"] for image in images])
            assert (await client.get("/view", params=images[0])).status == 404
        return seen

    names = ["ComfyUI_00001_.png", "ComfyUI_00002_.png"]
    assert talk(comfyui(tmp_path), conversation) == [names, names], "numbers begin anew"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        pytest.param("/view?filename=../main.py", 400, id="a way out by the name"),
        pytest.param("/view?filename=/etc/passwd", 400, id="an absolute path"),
        pytest.param("/view?filename=a.png&type=user", 400, id="another kind of folder"),
        pytest.param("/view?filename=a.png&subfolder=../..", 404, id="a way out by the folder"),
        pytest.param("/view?filename=a.png", 404, id="a file that is not there"),
        pytest.param("/history?max_items=1", 400, id="a parameter it would not heed"),
        pytest.param("/object_info", 404, id="a path nobody here asks"),
        pytest.param("/api/queue", 200, id="every path answers below /api, too"),
    ],
)
def test_a_question(tmp_path, path, status):
    assert ask(comfyui(tmp_path), path).status == status


@pytest.mark.parametrize(
    ("graph", "kind", "node", "error"),
    [
        pytest.param({}, "prompt_no_outputs", "", "", id="an empty graph"),
        pytest.param({"1": {"inputs": {}}}, "invalid_prompt", "", "", id="a node without a class"),
        pytest.param(
            {"1": {"class_type": "NoSuchNode", "inputs": {}}}, "invalid_prompt", "", "", id="an unknown class"
        ),
        pytest.param(with_inputs("5", width=None), None, "5", "required_input_missing", id="a missing input"),
        pytest.param(
            with_inputs("3", model=["99", 0]), None, "3", "bad_linked_input", id="a link to nowhere"
        ),
        pytest.param(with_inputs("3", model="x"), None, "3", "bad_linked_input", id="a text for a link"),
        pytest.param(with_inputs("3", seed=["4", 0]), None, "3", "bad_linked_input", id="a link for a value"),
        pytest.param(with_inputs("3", latent_image=["8", 0]), None, "", "", id="a circle"),
        pytest.param(with_inputs("8", samples=["4", 0]), None, "", "", id="a picture of no size"),
        pytest.param(
            with_inputs("4", ckpt_name="x"), None, "4", "value_not_in_list", id="a checkpoint nobody has"
        ),
        pytest.param(with_inputs("3", steps=0), None, "3", "invalid_input_type", id="too few steps"),
        pytest.param(
            with_inputs("3", steps="many"), None, "3", "invalid_input_type", id="a word for a number"
        ),
        pytest.param(
            with_inputs("9", filename_prefix="a/b"), None, "9", "custom_validation_failed", id="a folder"
        ),
    ],
)
def test_a_graph_that_cannot_run_is_a_400_that_names_the_node(tmp_path, graph, kind, node, error):
    said = ask(comfyui(tmp_path), "/prompt", "POST", json={"prompt": graph})
    assert (said.status, said.json()["error"]["type"]) == (400, kind or "prompt_outputs_failed_validation")
    errors = said.json()["node_errors"]
    found = {name: [one["type"] for one in errors[name]["errors"]] for name in errors}
    assert found == ({node: [error]} if node else {})


@pytest.mark.parametrize(
    "body", ["{", "{}", '{"prompt": {}, "front": true}'], ids=["no JSON", "nothing", "what is not known"]
)
def test_a_body_it_cannot_heed_is_a_400(tmp_path, body):
    assert ask(comfyui(tmp_path), "/prompt", "POST", data=body).status == 400


def test_one_job_runs_at_a_time_and_waiting_ones_can_be_taken_off(tmp_path):
    async def conversation(client):
        names = [await queued(client, with_inputs("3", seed=seed)) for seed in range(4)]
        await asyncio.sleep(0.05)
        queues = []
        for body in ({"delete": [names[1]]}, {"clear": True}):
            await client.post("/queue", json=body)
            queues.append(await (await client.get("/queue")).json())
        return names, queues

    names, [some, none] = talk(comfyui(tmp_path, seconds=1), conversation)
    assert [job[1] for job in some["queue_running"]] == names[:1]
    assert [job[1] for job in some["queue_pending"]] == names[2:]
    assert none["queue_pending"] == []


def test_an_interrupted_job_ends_at_its_next_step_says_so_and_can_be_forgotten(tmp_path):
    async def conversation(client):
        name = await queued(client, with_inputs("3", steps=20))
        await asyncio.sleep(0.1)
        await client.post("/interrupt")
        job = await ended(client, name)
        await client.post("/history", json={"delete": [name]})
        return job, await (await client.get("/history")).json()

    job, left = talk(comfyui(tmp_path, seconds=10), conversation)
    assert (job["status"]["status_str"], job["outputs"], left) == ("error", {}, {})


def test_the_client_that_queued_hears_of_its_job_and_another_one_of_the_queue(tmp_path):
    async def conversation(client):
        events: list[tuple[str, object]] = []
        previews = 0
        async with (
            client.ws_connect("/ws?clientId=me") as mine,
            client.ws_connect("/ws?clientId=you") as other,
        ):
            await queued(client, ORDER, client_id="me")
            while not events or events[-1] != ("executing", None):
                message = await mine.receive()
                if isinstance(message.data, bytes):
                    previews += 1
                    continue
                event = json.loads(message.data)
                data = event["data"]
                events.append((event["type"], data.get("value") or data.get("node")))
            heard = {json.loads((await other.receive()).data)["type"] for _ in range(3)}
        return events, previews, heard

    events, previews, heard = talk(comfyui(tmp_path), conversation)
    steps = list(range(1, pictures.STEPS + 1))
    assert [kind for kind, _ in events[:2]] == ["status", "status"], "a greeting, and its own job's coming"
    told = [event for event in events if event[0] != "status"]
    assert told[0] == ("execution_start", None)
    assert [value for kind, value in told if kind == "progress"] == steps and previews == len(steps)
    assert told[-3:] == [("executed", "9"), ("execution_success", None), ("executing", None)]
    assert heard == {"status"}


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
