"""ComfyUI makes a small picture, shows it, and computes on the device it was given."""

from typing import Any, Dict

from aicluster_verify import Answer, Broken, Kit

FLOWS = {"image": "a small picture is made and shown, on the device it was given"}
# A whole job that needs no model: one grey picture, shown as a preview, so that nothing stays in the outputs.
SIZE = {"width": 64, "height": 64, "batch_size": 1, "color": 0x808080}
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": SIZE},
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}
PNG = b"\x89PNG\r\n\x1a\n"
# Another job may be at work; a big picture takes minutes on the small board.
PATIENCE_S = 25
GPU = "import os; print(os.environ.get('NVIDIA_VISIBLE_DEVICES', ''))"
LOOK = "docker compose --project-directory /opt/aicluster logs --tail 50 comfyui"


def post(kit: Kit, path: str, body: Dict[str, Any]) -> Answer:
    """Send JSON; return the answer, which must be good."""
    return kit.expect(kit.url("comfyui", "ui", path), method="POST", data=body)


def device(kit: Kit) -> str:
    """Return the kind of device ComfyUI computes on; raise Broken if it has a GPU and does not use it."""
    stats = kit.expect(kit.url("comfyui", "ui", "/system_stats")).json()
    kinds = [str(item.get("type")) for item in stats.get("devices", [])]
    if kit.execute("comfyui", ["python3", "-c", GPU]).strip() and "cuda" not in kinds:
        raise Broken("it was given a GPU but computes on {}".format(", ".join(kinds) or "nothing"), LOOK)
    return kinds[0] if kinds else "no device"


def picture(kit: Kit, prompt_id: str) -> bytes:
    """Wait for the job's end and return its picture; raise Broken with what the job says."""
    job = kit.wait(
        PATIENCE_S,
        lambda: kit.expect(kit.url("comfyui", "ui", "/history/" + prompt_id)).json().get(prompt_id),
        "job {} did not end; look at /queue for what is before it".format(prompt_id),
    )
    status = job.get("status", {})
    if status.get("status_str", "success") != "success":
        raise Broken("the job ended as {}".format(str(status)[:300]), LOOK)
    images = [image for output in job.get("outputs", {}).values() for image in output.get("images", [])]
    if not images:
        raise Broken("the job ended without a picture", LOOK)
    query = "&".join("{}={}".format(key, images[0].get(key, "")) for key in ("filename", "subfolder", "type"))
    return kit.expect(kit.url("comfyui", "ui", "/view?" + query)).body


def check(kit: Kit) -> str:
    """Return size and device of a picture made now; raise Broken where the way to it ends."""
    kind = device(kit)
    prompt_id = str(post(kit, "/prompt", {"prompt": GRAPH, "client_id": kit.run_id}).json()["prompt_id"])
    try:
        body = picture(kit, prompt_id)
    finally:
        kit.http(kit.url("comfyui", "ui", "/queue"), method="POST", data={"delete": [prompt_id]})
        kit.http(kit.url("comfyui", "ui", "/history"), method="POST", data={"delete": [prompt_id]})
    if not body.startswith(PNG):
        raise Broken("the picture is no PNG: it begins with {!r}".format(body[:8]), LOOK)
    return "picture of {} bytes made on {}".format(len(body), kind)
