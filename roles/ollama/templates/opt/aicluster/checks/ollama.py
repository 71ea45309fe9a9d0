"""Ollama answers with the smallest model behind the gateway's aliases, on the GPU where it was given one."""

import time
from typing import Any, Dict

from aicluster_verify import Answer, Broken, Kit

FLOWS = {"chat": "the smallest model of the aliases writes a token, on the GPU where there is one"}
ALIASES = ("chat", "code")
ANSWER_LIMIT_S = 30


def check(kit: Kit) -> str:
    """Ask for version, aliases and one token."""
    version = kit.expect(kit.url("ollama", "api", "/api/version")).json()["version"]
    models = {
        model["name"]: model for model in kit.expect(kit.url("ollama", "api", "/api/tags")).json()["models"]
    }
    missing = [alias for alias in ALIASES if alias + ":latest" not in models]
    if missing:
        raise Broken(
            "Ollama %s has no model named %s" % (version, " and ".join(missing)), "ansible-playbook site.yml"
        )
    alias = min(ALIASES, key=lambda name: int(models[name + ":latest"]["size"]))
    began = time.monotonic()
    answer = one_token(kit, alias).json()
    if not answer.get("done") or not answer.get("eval_count"):
        raise Broken("%s generated no token: %s" % (alias, answer))
    took = time.monotonic() - began
    return "Ollama %s, %s answers in %.1f s%s" % (version, alias, took, where(kit, alias))


def loaded(kit: Kit) -> Dict[str, Dict[str, Any]]:
    """Return the models in memory, by name."""
    listed = kit.expect(kit.url("ollama", "api", "/api/ps")).json()["models"]
    return {model["name"]: model for model in listed}


def one_token(kit: Kit, alias: str) -> Answer:
    """Generate a single token; a model that is not in memory yet may need longer than a check may wait."""
    url = kit.url("ollama", "api", "/api/generate")
    question = {"model": alias, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
    try:
        return kit.expect(url, method="POST", data=question, timeout=ANSWER_LIMIT_S)
    except Broken as broken:
        if "timed out" not in broken.evidence:
            raise
    state = "is in memory and busy" if alias + ":latest" in loaded(kit) else "is still being loaded"
    # The token was asked for and will come: a second look tells slow from broken.
    body = '{"model": "%s", "prompt": "Hello", "stream": false, "options": {"num_predict": 1}}' % alias
    raise Broken(
        "%s gave no token within %d s and %s" % (alias, ANSWER_LIMIT_S, state),
        "curl -m 900 %s -d '%s'   # then verify again" % (url, body),
    )


def where(kit: Kit, alias: str) -> str:
    """Return how much of the model is on the GPU, for a container that was given one."""
    given = kit.execute("ollama", ["sh", "-c", "echo ${NVIDIA_VISIBLE_DEVICES:-}"]).strip()
    if not given:
        return ", on the CPU"
    model = loaded(kit).get(alias + ":latest")
    if model is None:  # already unloaded, as a short keep-alive asks for
        return ""
    if not model["size_vram"]:
        raise Broken(
            "%s runs on the CPU although the container has the GPU" % alias,
            "sudo docker compose --project-directory /opt/aicluster logs ollama | grep -i -E 'gpu|cuda'",
        )
    return ", %d %% on the GPU" % round(100.0 * model["size_vram"] / model["size"])
