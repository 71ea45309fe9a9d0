"""ComfyUI's new image is moved to the bucket, read back and removed."""

import hashlib
from typing import Any, Dict, Optional, Tuple

from aicluster_verify import CheckError, Kit, active_profile

FLOWS = {"image": "a new image becomes an object, which is read back and removed"}
SERVICE = "comfyui_outputs"
# A whole job that needs no model: one grey picture.
SIZE = {"width": 64, "height": 64, "batch_size": 1, "color": 0x808080}
PATIENCE_S = 20


def comfyui_works(kit: Kit) -> bool:
    """Tell whether ComfyUI belongs to the active profile and has no other work."""
    entry = kit.services.get("comfyui")
    if entry is None or (entry["profiles"] and active_profile() not in entry["profiles"]):
        return False
    try:
        queue = kit.expect(kit.url("comfyui", "ui", "/queue")).json()
    except CheckError:
        return False
    return not queue.get("queue_running") and not queue.get("queue_pending")


def image_of(kit: Kit, prefix: str) -> Dict[str, Any]:
    """Have ComfyUI save a picture; return how it names it. Raises CheckError if it makes none."""
    graph = {
        "1": {"class_type": "EmptyImage", "inputs": SIZE},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }
    url = kit.url("comfyui", "ui", "/prompt")
    prompt_id = str(kit.expect(url, method="POST", data={"prompt": graph}).json()["prompt_id"])
    try:
        job = kit.wait(
            PATIENCE_S,
            lambda: kit.expect(kit.url("comfyui", "ui", "/history/" + prompt_id)).json().get(prompt_id),
            "the job of a picture did not end",
        )
    finally:
        for path in ("/queue", "/history"):
            kit.http(kit.url("comfyui", "ui", path), method="POST", data={"delete": [prompt_id]})
    images = [image for output in job.get("outputs", {}).values() for image in output.get("images", [])]
    if not images:
        raise CheckError("ComfyUI saved no picture: {}".format(str(job.get("status"))[:200]))
    return dict(images[0])


def picture(kit: Kit, prefix: str) -> Optional[Tuple[str, str]]:
    """Return file name and SHA-256 of a picture made now; None where ComfyUI does not work at present."""
    if not comfyui_works(kit):
        return None
    image = image_of(kit, prefix)
    query = "&".join("{}={}".format(key, image.get(key, "")) for key in ("filename", "subfolder", "type"))
    body = kit.expect(kit.url("comfyui", "ui", "/view?" + query)).body
    return str(image["filename"]), hashlib.sha256(body).hexdigest()


def moved(kit: Kit) -> str:
    """Move a picture, or a text where nobody makes any; return which; raise CheckError if it is lost."""
    prefix = "aicluster-verify-" + kit.run_id
    made = picture(kit, prefix)
    if made:
        name, digest, what = made[0], made[1], "a picture made now"
    else:
        name, what = prefix + ".txt", "a text (ComfyUI is inactive or busy)"
        text = "aicluster verify {} {}".format(kit.run_id, kit.node)
        digest = hashlib.sha256(text.encode()).hexdigest()
        kit.execute(SERVICE, ["tee", "/output/" + name], stdin=text)
    try:
        said = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-round-trip", name]).split()
    except CheckError as error:
        raise CheckError("{} does not become an object: {}".format(what, error.evidence)) from None
    finally:
        kit.execute(SERVICE, ["rm", "-f", "/output/" + name])
    if not said or said[0] != digest:
        raise CheckError("{} is not what the bucket gives back".format(what))
    return what


def check(kit: Kit) -> str:
    """Return when the last pass succeeded and what was moved now; raise CheckError where it does not work."""
    try:
        age = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-healthy"]).strip()
    except CheckError as error:
        raise CheckError("no pass succeeded lately: {}".format(error.evidence)) from None
    try:
        listing = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-bucket"])
    except CheckError as error:
        raise CheckError("the bucket cannot be listed: {}".format(error.evidence)) from None
    waiting = kit.execute(SERVICE, ["find", "/output", "-type", "f"]).splitlines()
    left = [name for name in waiting if not name.endswith("_here")]
    return "{} went to the bucket and back; last pass {} s ago, {} folders, {} files not moved yet".format(
        moved(kit), age, len(listing.splitlines()), len(left)
    )
