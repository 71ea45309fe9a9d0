"""Whether ComfyUI has pictures to make: clients do not stay connected for them."""

from aicluster_verify import Kit


def busy(kit: Kit) -> str:
    """Return what runs and waits, an empty text if nothing does."""
    queue = kit.expect(kit.url("comfyui", "ui", "/queue")).json()
    running, waiting = len(queue["queue_running"]), len(queue["queue_pending"])
    return "{} pictures run, {} wait".format(running, waiting) if running or waiting else ""
