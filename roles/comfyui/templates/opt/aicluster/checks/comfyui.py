"""ComfyUI generates a small image, returns it, and uses the device it was given."""

import json
import os
from typing import Any, Dict, List, Optional, Tuple, cast

from aicluster_verify import CheckError, Kit

FLOWS = {
    "image": (
        "the declared checkpoints are present; a small image is generated and fetched; ComfyUI uses the GPU "
        "it was given"
    )
}
# A whole job that needs no model: one grey picture. It goes the way of every job but through the GPU: only a
# model computes there, and none may be here yet.
GREY = {"width": 64, "height": 64, "batch_size": 1, "color": 0x808080}
# Nothing stays in the outputs of what is a preview.
PREVIEW = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
PNG = b"\x89PNG\r\n\x1a\n"
CHECKPOINTS = "/opt/ComfyUI/models/checkpoints/"
# A big picture of a user takes minutes on the small board, and that is no fault.
PATIENCE_S = 25
# What the site wants. The container does not tell: its image asks for a GPU on any node.
WANTED = os.path.splitext(__file__)[0] + ".json"


def wanted() -> Dict[str, Any]:
    """Return {gpu: whether the container is given one; checkpoints: files there shall be}."""
    with open(WANTED) as handle:
        return cast("Dict[str, Any]", json.load(handle))


def device(kit: Kit, gpu: bool) -> str:
    """Return the kind of device ComfyUI computes on; raise CheckError if it has a GPU and does not use it."""
    stats = kit.expect(kit.url("comfyui", "ui", "/system_stats")).json()
    kinds = [str(item.get("type")) for item in stats.get("devices", [])]
    if gpu and "cuda" not in kinds:
        raise CheckError("it was given a GPU but computes on {}".format(", ".join(kinds) or "nothing"))
    return kinds[0] if kinds else "no device"


def checkpoints(kit: Kit, declared: List[str]) -> str:
    """Return what there is of checkpoints; raise CheckError with the way to bring one that is missing."""
    if not declared:
        return "no checkpoint declared: only the path was tested"
    there = kit.expect(kit.url("comfyui", "ui", "/models/checkpoints")).json()
    missing = [name for name in declared if name not in there]
    if missing:
        raise CheckError(
            "no checkpoint named {}".format(", ".join(missing)),
            "sudo docker compose --project-directory /opt/aicluster cp {0} comfyui:{1}{0}".format(
                missing[0], CHECKPOINTS
            ),
        )
    return "all of {} checkpoints".format(len(declared))


def job_of(kit: Kit, prompt_id: str) -> Optional[Dict[str, Any]]:
    """Return a job once it has ended, None if another one is still before it."""
    url = kit.url("comfyui", "ui", "/history/" + prompt_id)

    def ended() -> Optional[Dict[str, Any]]:
        return cast("Optional[Dict[str, Any]]", kit.expect(url).json().get(prompt_id))

    try:
        return kit.wait(PATIENCE_S, ended, "job {} did not end".format(prompt_id))
    except CheckError:
        queue = kit.expect(kit.url("comfyui", "ui", "/queue")).json()
        if any(job[1] != prompt_id for job in queue.get("queue_running", [])):
            return None  # those of others are being made
        raise


def picture(kit: Kit, shown_by: Dict[str, Any]) -> Optional[Tuple[str, bytes]]:
    """Have a picture made; return its file's name and content, None while ComfyUI works for somebody else.

    `shown_by`: the node of the graph that shows it. Raises CheckError with what the job says.
    """
    graph = {"1": {"class_type": "EmptyImage", "inputs": GREY}, "2": shown_by}
    job = {"prompt": graph, "client_id": kit.run_id}
    queued = kit.expect(kit.url("comfyui", "ui", "/prompt"), method="POST", data=job)
    prompt_id = str(queued.json()["prompt_id"])
    try:
        ended = job_of(kit, prompt_id)
        if ended is None:
            return None
        status = ended.get("status", {})
        if status.get("status_str", "success") != "success":
            raise CheckError("the job ended as {}".format(str(status)[:300]))
        images = [image for output in ended.get("outputs", {}).values() for image in output.get("images", [])]
        if not images:
            raise CheckError("the job ended without a picture")
        words = ("{}={}".format(key, images[0].get(key, "")) for key in ("filename", "subfolder", "type"))
        body = kit.expect(kit.url("comfyui", "ui", "/view?" + "&".join(words))).body
        return str(images[0]["filename"]), body
    finally:
        for path in ("/queue", "/history"):
            kit.http(kit.url("comfyui", "ui", path), method="POST", data={"delete": [prompt_id]})


def check(kit: Kit) -> str:
    """Return size and device of a picture made now; raise CheckError where the way to it ends."""
    site = wanted()
    kind, models = device(kit, site["gpu"]), checkpoints(kit, site["checkpoints"])
    made = picture(kit, PREVIEW)
    if made is None:
        return "is busy for a user on {}; the check did not wait for its own image; {}".format(kind, models)
    body = made[1]
    if not body.startswith(PNG):
        raise CheckError("the picture is no PNG: it begins with {!r}".format(body[:8]))
    return "a picture of {} bytes was made; computes on {}; {}".format(len(body), kind, models)
