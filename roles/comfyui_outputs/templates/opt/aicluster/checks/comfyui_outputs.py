"""ComfyUI's new image is moved to the bucket, read back and removed."""

import hashlib
from typing import Optional, Tuple

from aicluster_verify import ROOT, CheckError, Kit, active_profile, load

FLOWS = {"image": "a new image becomes an object, which is read back and removed"}
SERVICE = "comfyui_outputs"


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


def picture(kit: Kit, prefix: str) -> Optional[Tuple[str, bytes]]:
    """Return name and content of a picture saved now; None where ComfyUI does not work for us at present."""
    if not comfyui_works(kit):
        return None
    save = {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}}
    # ComfyUI is beside it, and with it the check that has pictures made.
    made: Optional[Tuple[str, bytes]] = load("picture", "comfyui", ROOT + "/checks")(kit, save)
    return made


def moved(kit: Kit) -> str:
    """Move a picture, or a text where nobody makes any; return which; raise CheckError if it is lost."""
    prefix = "aicluster-verify-" + kit.run_id
    made = picture(kit, prefix)
    if made:
        (name, content), what = made, "a picture made now"
    else:
        name, what = prefix + ".txt", "a text (ComfyUI is inactive or busy)"
        text = "aicluster verify {} {}".format(kit.run_id, kit.node)
        content = text.encode()
        kit.execute(SERVICE, ["tee", "/output/" + name], stdin=text)
    try:
        said = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-round-trip", name]).split()
    except CheckError as error:
        raise CheckError("{} does not become an object: {}".format(what, error.evidence)) from None
    finally:
        kit.execute(SERVICE, ["rm", "-f", "/output/" + name])
    if not said or said[0] != hashlib.sha256(content).hexdigest():
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
