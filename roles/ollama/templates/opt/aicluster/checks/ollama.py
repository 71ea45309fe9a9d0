"""Ollama answers with the smallest model behind the gateway's aliases, on the GPU where it was given one."""

import json
import os
import re
import time
from typing import Any, Dict, List, cast

from aicluster_verify import Answer, CheckError, Kit

FLOWS = {
    "chat": "every model is present; the smallest alias generates a token, on the GPU where there is one"
}
# What the site wants this node to have. The container does not tell: its image asks for a GPU on any node.
WANTED = os.path.splitext(__file__)[0] + ".json"


def wanted() -> Dict[str, Any]:
    """Return {models, aliases: names the node shall have; gpu: whether the container is given one}."""
    with open(WANTED) as handle:
        return cast("Dict[str, Any]", json.load(handle))


def tagged(names: List[str]) -> List[str]:
    """Return names as Ollama lists them, in small letters: with their tags, without the public registry."""
    short = [re.sub(r"^(registry\.ollama\.ai/)?(library/)?", "", name.lower()) for name in names]
    return [name if ":" in name.rpartition("/")[2] else name + ":latest" for name in short]


def check(kit: Kit) -> str:
    """Ask for version, models and one token of the smallest model behind an alias."""
    version = kit.expect(kit.url("ollama", "api", "/api/version")).json()["version"]
    listed = kit.expect(kit.url("ollama", "api", "/api/tags")).json()["models"]
    named = {model["name"].lower(): model for model in listed}
    site = wanted()
    models, aliases = tagged(site["models"]), tagged(site["aliases"])
    missing = [name for name in models + aliases if name not in named]
    if missing:
        raise CheckError(
            "Ollama %s has no model named %s" % (version, ", ".join(missing)), "ansible-playbook site.yml"
        )
    write = {name for name in named if "completion" in named[name].get("capabilities", ["completion"])}
    asked = write.intersection(aliases) or write.intersection(models)
    if not asked:
        return "Ollama %s; no models that write are declared here" % version
    model = min(asked, key=lambda name: int(named[name]["size"]))
    digest = named[model]["digest"]
    began = time.monotonic()
    answer = one_token(kit, model, digest).json()
    if not answer.get("done") or not answer.get("eval_count"):
        raise CheckError("%s generated no token: %s" % (model, answer))
    took = time.monotonic() - began
    return "Ollama %s, all of %d models; %s answers in %.1f s%s" % (
        version, len(models), model, took, where(kit, model, digest) if site["gpu"] else ", on the CPU",
    )  # fmt: skip


def loaded(kit: Kit) -> Dict[str, Dict[str, Any]]:
    """Return the models in memory, by digest: it is named as it was first asked for."""
    listed = kit.expect(kit.url("ollama", "api", "/api/ps")).json()["models"]
    return {model["digest"]: model for model in listed}


def one_token(kit: Kit, model: str, digest: str) -> Answer:
    """Generate a single token; a model that is not in memory yet may need longer than a check may wait."""
    url, limit_s = kit.url("ollama", "api", "/api/generate"), kit.left()
    question = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 1}}
    try:
        return kit.expect(url, method="POST", data=question, timeout=limit_s)
    except CheckError as failure:
        if "timed out" not in failure.evidence:
            raise
    state = "is in memory and busy" if digest in loaded(kit) else "is still being loaded"
    # The token was asked for and will come: a second look tells slow from failed.
    body = '{"model": "%s", "prompt": "Hello", "stream": false, "options": {"num_predict": 1}}' % model
    raise CheckError(
        "%s gave no token within %d s and %s" % (model, limit_s, state),
        "curl -m 900 %s -d '%s'   # then verify again" % (url, body),
    )


def where(kit: Kit, model: str, digest: str) -> str:
    """Return how much of the model is on the GPU of the container."""
    found = loaded(kit).get(digest)
    if found is None:  # already unloaded, as a short keep-alive asks for
        return ""
    if not found["size_vram"]:
        raise CheckError(
            "%s runs on the CPU although the container has the GPU; ollama_jetpack must be the board's"
            % model,
            "sudo docker compose --project-directory /opt/aicluster logs ollama | grep -i -E 'gpu|cuda'",
        )
    return ", %d %% on the GPU" % round(100.0 * found["size_vram"] / found["size"])
