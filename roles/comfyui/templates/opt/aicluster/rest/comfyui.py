"""Before ComfyUI is stopped: let the running picture end, and free the memory of its models."""

from typing import Any, Dict

from aicluster_verify import CheckError, Kit

# A picture takes minutes at most; whoever has waited so long may have the node.
PATIENCE_S = 180


def rest(kit: Kit) -> str:
    """Drop what only waits, wait for what runs, interrupt it in the end, unload; return what was done."""

    def post(path: str, body: Dict[str, Any]) -> None:
        kit.expect(kit.url("comfyui", "ui", path), method="POST", data=body)

    queue = kit.expect(kit.url("comfyui", "ui", "/queue")).json()
    dropped = len(queue["queue_pending"])
    post("/queue", {"clear": True})
    ended = "nothing ran"
    if queue["queue_running"]:
        try:
            kit.wait(
                PATIENCE_S,
                lambda: not kit.expect(kit.url("comfyui", "ui", "/queue")).json()["queue_running"],
                "a picture is still being made",
            )
            ended = "the running picture was finished"
        except CheckError:
            post("/interrupt", {})
            ended = "the running picture was interrupted"
    post("/free", {"unload_models": True, "free_memory": True})
    return "{}, {} waiting jobs dropped, models unloaded".format(ended, dropped)
