"""A picture as a client of the gateway orders it: the graph, the job, and what is heard of it."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import aiohttp
import http_client
import site_under_test as site

STEPS = 6
PIXEL = (
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89\0\0\0\rIDATx\x9cc`\0\0\0\2\0\1\xe2!"
    b"\xbc3\0\0\0\0IEND\xaeB`\x82"
)


def graph(prefix: str) -> dict[str, Any]:
    sampler = {
        "seed": 7, "steps": STEPS, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0],
    }  # fmt: skip
    return {
        "3": {"class_type": "KSampler", "inputs": sampler},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a boat", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": prefix}},
    }


@dataclass(frozen=True)
class Job:
    """A job that has ended: its id, what its client heard, previews among it, and its picture."""

    prompt_id: str
    events: list[dict[str, Any]]
    previews: list[bytes]
    image: dict[str, str]
    picture: http_client.Answer


def wait_for_comfyui(url: str, api_key: str) -> None:
    """Until the gateway's probes have seen that it is there."""
    there = f"{url}/queue"
    site.wait_until(
        lambda: http_client.get(there, api_key).status == 200, 120, "the gateway finds no ComfyUI"
    )


def order(url: str, api_key: str) -> Job:
    """Order a picture at `url` and listen until it is there; TimeoutError when it does not come."""
    me = uuid.uuid4().hex
    prompt_id, events, previews = asyncio.run(_listened(url, api_key, me))
    history = http_client.get(f"{url}/history/{prompt_id}", api_key).json()
    [image] = history[prompt_id]["outputs"]["9"]["images"]
    picture = http_client.get(f"{url}/view?{urlencode(image)}", api_key)
    return Job(prompt_id, events, previews, image, picture)


async def _listened(url: str, api_key: str, me: str) -> tuple[str, list[dict[str, Any]], list[bytes]]:
    """Queue the job; return its id, events and previews."""
    events: list[dict[str, Any]] = []
    previews = []
    key = {"apikey": api_key}
    async with (
        asyncio.timeout(60),
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/ws?clientId={me}", headers=key) as mine,
    ):
        body = {"prompt": graph(f"e2e-{me}"), "client_id": me}
        async with session.post(url, json=body, headers=key) as queued:
            assert queued.status == 200, await queued.text()
            prompt_id = str((await queued.json())["prompt_id"])
        while not events or events[-1]["type"] != "executing" or events[-1]["data"]["node"]:
            message = await mine.receive()
            if message.type == aiohttp.WSMsgType.BINARY:
                previews.append(message.data)
            else:
                events.append(message.json())
    return prompt_id, events, previews
