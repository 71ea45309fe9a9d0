"""A picture through all of it: client -> gateway -> ComfyUI, its progress, and the object in the store."""

import json
import shlex
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

import http_client
import pytest
import site_under_test as site
import websocket_client
from websocket_client import RefusedError

STEPS = 6
PNG = b"\x89PNG\r\n\x1a\n"
# Until the gateway's probes have seen that ComfyUI is there.
NOTICED_WITHIN_S = 60
# A picture is moved once it has lain there for a while; a pass may just have missed it.
SPARE_S = 60


def graph(prefix: str) -> dict[str, Any]:
    """From text to a saved picture, in ComfyUI's format."""
    sampler = {
        "seed": 7,
        "steps": STEPS,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "denoise": 1,
        "model": ["4", 0],
        "positive": ["6", 0],
        "negative": ["7", 0],
        "latent_image": ["5", 0],
    }
    return {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {
            "class_type": "CheckpointLoaderSimple",
            "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"},
        },
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a boat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": prefix}},
    }


def switch(node: site.Node, mode: str) -> site.Run:
    return site.run_playbook("playbooks/mode.yml", "--limit", node.address, "-e", f"to={mode}")


@pytest.fixture(scope="module")
def url(gateway_url: str, api_key: str) -> Iterator[str]:
    """The way to images, while their node works at nothing else."""
    [node] = site.running("comfyui")
    switched = switch(node, "image")
    assert switched.code == 0, switched.output
    way = f"{gateway_url}/api/v1/image"
    end = time.monotonic() + NOTICED_WITHIN_S
    while (answer := http_client.get(f"{way}/queue", api_key)).status != 200:
        assert time.monotonic() < end, f"the gateway does not find ComfyUI: {answer.status} {answer.body!r}"
        time.sleep(1)
    yield way
    back = switch(node, node.entry["mode"])
    assert back.code == 0, back.output


@dataclass(frozen=True)
class Job:
    """A job that has ended: its id, what its client heard, what another client heard, and its picture."""

    prompt_id: str
    events: list[dict[str, Any]]
    previews: list[bytes]
    heard_by_another: list[str]
    image: dict[str, str]
    picture: http_client.Answer

    def values(self, kind: str, name: str) -> list[Any]:
        """A field of every event of a kind."""
        return [event["data"].get(name) for event in self.events if event["type"] == kind]


def is_last(event: dict[str, Any]) -> bool:
    """Whether nothing more comes of a job."""
    return event["type"] == "executing" and event["data"]["node"] is None


@pytest.fixture(scope="module")
def job(url: str, api_key: str) -> Job:
    me, another = uuid.uuid4().hex, uuid.uuid4().hex
    events: list[dict[str, Any]] = []
    previews = []
    with (
        websocket_client.connect(f"{url}/ws?clientId={me}", api_key) as mine,
        websocket_client.connect(f"{url}/ws?clientId={another}", api_key) as other,
    ):
        queued = http_client.post(url, {"prompt": graph(f"e2e-{me}"), "client_id": me}, api_key)
        assert queued.status == 200, queued.body
        while not events or not is_last(events[-1]):
            message = mine.receive()
            assert message is not None, f"the WebSocket ended after {events}"
            if isinstance(message, bytes):
                previews.append(message)
            else:
                events.append(json.loads(message))
        # A greeting, the job's coming and its going.
        heard = [json.loads(other.receive() or "")["type"] for _ in range(3)]
    prompt_id = queued.json()["prompt_id"]
    history = http_client.get(f"{url}/history/{prompt_id}", api_key).json()
    [image] = history[prompt_id]["outputs"]["9"]["images"]
    picture = http_client.get(f"{url}/view?{urlencode(image)}", api_key)
    return Job(prompt_id, events, previews, heard, image, picture)


def test_the_client_that_queued_a_job_sees_it_come_run_and_end(job):
    kinds = [event["type"] for event in job.events]
    assert kinds[0] == "status"
    assert job.values("progress", "value") == list(range(1, STEPS + 1))
    assert kinds.index("execution_start") < kinds.index("progress") < kinds.index("executed")
    assert job.values("executed", "node") == ["9"]
    assert job.previews, "no preview on the way"
    of_the_job = [event["data"]["prompt_id"] for event in job.events if event["type"] != "status"]
    assert set(of_the_job) == {job.prompt_id}


def test_another_client_hears_of_the_queue_only(job):
    assert job.heard_by_another == ["status"] * 3


def test_the_picture_comes_through_the_gateway(job):
    assert job.picture.status == 200
    assert job.picture.body.startswith(PNG)
    assert job.picture.headers["X-AI-Node"] == site.running("comfyui")[0].name


@pytest.mark.parametrize("key", [None, "not-the-key"], ids=["no key", "a wrong key"])
def test_without_the_key_the_upgrade_is_refused(url, key):
    with (
        pytest.raises(RefusedError) as refused,
        websocket_client.connect(f"{url}/ws?clientId=stranger", key),
    ):
        pass
    assert refused.value.status == 401


@pytest.mark.parametrize("path", ["/queue", "/history", "/view?filename=x.png"])
def test_without_the_key_nothing_is_shown(url, path):
    assert http_client.get(url + path).status == 401


def test_without_the_key_no_job_is_taken(url):
    assert http_client.post(url, {"prompt": graph("stranger")}).status == 401


def test_a_graph_that_cannot_run_is_refused_by_name(url, api_key):
    refused = http_client.post(url, {"prompt": {"1": {"class_type": "NoSuchNode", "inputs": {}}}}, api_key)
    assert refused.status == 400
    assert refused.json()["error"]["message"]


# --- the object ---


def in_the_store(command: str) -> str:
    """What `mc ...` prints in the object store, signed in as its own user; `user` is the alias."""
    sign_in = '. /opt/aicluster/bin/sign-in; sign_in user minio "$(secret_of minio)"'
    inside = shlex.quote(f"{sign_in}; {command}")
    [store] = site.running("minio")
    return site.shell(
        store, f"docker compose --project-directory /opt/aicluster exec -T minio sh -c {inside}"
    )


def objects(name: str) -> list[str]:
    """The keys in the bucket of pictures whose last part this is."""
    listed = [json.loads(line) for line in in_the_store("mc ls --recursive --json user/images").splitlines()]
    return [entry["key"] for entry in listed if entry["key"].rpartition("/")[2] == name]


@pytest.fixture
def moved(job: Job) -> Iterator[str]:
    """The object of the picture, waited for; it is removed afterwards."""
    node = site.running("comfyui")[0]
    rests = site.variable(node, "comfyui_outputs_min_age_s | default(120)")
    pauses = site.variable(node, "comfyui_outputs_interval_s | default(30)")
    end = time.monotonic() + rests + pauses + SPARE_S
    while not (found := objects(job.image["filename"])):
        assert time.monotonic() < end, f"{job.image['filename']} did not come into the bucket"
        time.sleep(5)
    [key] = found
    yield key
    in_the_store(f"mc rm user/images/{shlex.quote(key)}")


def test_the_picture_becomes_an_object_in_the_store_and_leaves_its_node(job, moved, url, api_key):
    node = site.running("comfyui")[0]
    assert moved.startswith(f"{node.name}/")
    [digest, *_] = in_the_store(f"mc cat user/images/{shlex.quote(moved)} | sha256sum").split()
    assert digest == sha256(job.picture.body).hexdigest(), "another picture"
    assert http_client.get(f"{url}/view?{urlencode(job.image)}", api_key).status == 404
