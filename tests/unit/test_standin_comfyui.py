"""The stand-in for ComfyUI keeps the rules of the real one that no picture of the end-to-end tests shows."""

import asyncio
from typing import Any

import pictures
import pytest
from standing_in import ask, comfyui, talk

# From text to a saved picture, as the end-to-end tests order it.
ORDER = pictures.graph("ComfyUI")


def with_inputs(node: str, **changed: Any) -> dict[str, Any]:
    """The order with other inputs of a node; None takes one away."""
    inputs = {
        name: value for name, value in {**ORDER[node]["inputs"], **changed}.items() if value is not None
    }
    return {**ORDER, node: {**ORDER[node], "inputs": inputs}}


async def queued(client, graph):
    answer = await client.post("/prompt", json={"prompt": graph})
    assert answer.status == 200, await answer.text()
    return (await answer.json())["prompt_id"]


@pytest.mark.parametrize(
    ("graph", "kind", "node", "error"),
    [
        pytest.param({}, "prompt_no_outputs", "", "", id="an empty graph"),
        pytest.param({"1": {"inputs": {}}}, "invalid_prompt", "", "", id="a node without a class"),
        pytest.param(with_inputs("5", width=None), None, "5", "required_input_missing", id="a missing input"),
        pytest.param(
            with_inputs("3", model=["99", 0]), None, "3", "bad_linked_input", id="a link to nowhere"
        ),
        pytest.param(with_inputs("3", latent_image=["8", 0]), None, "", "", id="a circle"),
        pytest.param(
            with_inputs("4", ckpt_name="x"), None, "4", "value_not_in_list", id="no such checkpoint"
        ),
        pytest.param(with_inputs("3", steps=0), None, "3", "invalid_input_type", id="too few steps"),
    ],
)
def test_a_graph_that_cannot_run_is_a_400_that_names_the_node(tmp_path, graph, kind, node, error):
    said = ask(comfyui(tmp_path), "/prompt", "POST", json={"prompt": graph})
    assert (said.status, said.json()["error"]["type"]) == (400, kind or "prompt_outputs_failed_validation")
    errors = said.json()["node_errors"]
    found = {name: [one["type"] for one in errors[name]["errors"]] for name in errors}
    assert found == ({node: [error]} if node else {})


def test_one_job_runs_at_a_time_waiting_ones_are_taken_off_and_the_running_one_ends_when_interrupted(
    tmp_path,
):
    async def conversation(client):
        names = [await queued(client, with_inputs("3", seed=seed)) for seed in range(4)]
        await asyncio.sleep(0.05)
        queues = []
        for body in ({"delete": [names[1]]}, {"clear": True}):
            await client.post("/queue", json=body)
            queues.append(await (await client.get("/queue")).json())
        await client.post("/interrupt")
        while not (history := await (await client.get(f"/history/{names[0]}")).json()):
            await asyncio.sleep(0.01)
        return names, queues, history[names[0]]

    names, [some, none], job = talk(comfyui(tmp_path, seconds=10), conversation)
    assert [[one[1] for one in some[f"queue_{state}"]] for state in ("running", "pending")] == [
        names[:1],
        names[2:],
    ]
    assert none["queue_pending"] == []
    assert (job["status"]["status_str"], job["outputs"]) == ("error", {})
