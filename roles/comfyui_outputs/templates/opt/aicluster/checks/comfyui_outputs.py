"""The mover of pictures works: its last pass succeeded lately, and its own key opens the bucket."""

from aicluster_verify import Broken, Kit

SERVICE = "comfyui_outputs"
LOOK = "docker compose --project-directory /opt/aicluster logs --tail 50 " + SERVICE


def check(kit: Kit) -> str:
    """Return when the last pass succeeded and what the bucket holds; raise Broken where it does not work."""
    try:
        age = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-healthy"]).strip()
    except Broken as error:
        raise Broken("no pass succeeded lately: {}".format(error.evidence), LOOK) from None
    try:
        listing = kit.execute(SERVICE, ["/opt/aicluster/bin/outputs-bucket"])
    except Broken as error:
        raise Broken("the bucket cannot be listed: {}".format(error.evidence), LOOK) from None
    waiting = kit.execute(SERVICE, ["find", "/output", "-type", "f"]).splitlines()
    left = [name for name in waiting if not name.endswith("_here")]
    return "last pass {} s ago, {} folders in the bucket, {} files not moved yet".format(
        age, len(listing.splitlines()), len(left)
    )
