"""Before Ollama is stopped: unload its models."""

from aicluster_verify import Kit


def rest(kit: Kit) -> str:
    """Unload every loaded model and wait until none is left."""
    loaded = [model["name"] for model in kit.expect(kit.url("ollama", "api", "/api/ps")).json()["models"]]
    for model in loaded:
        kit.expect(
            kit.url("ollama", "api", "/api/generate"), method="POST", data={"model": model, "keep_alive": 0}
        )

    def empty() -> bool:
        return not kit.expect(kit.url("ollama", "api", "/api/ps")).json()["models"]

    kit.wait(30, empty, "models are still loaded")
    return "unloaded %s" % (", ".join(loaded) or "nothing")
