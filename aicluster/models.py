"""Compares what an Ollama server has with what it should have, and tells where it may copy the rest from."""

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import SiteError
from .site.addresses import is_open


def normalise(name: str) -> str:
    """Return the name under which the server lists a model: 'Llama3.2' -> 'llama3.2:latest'."""
    short = name.strip().lower()
    for prefix in ("registry.ollama.ai/", "library/"):
        short = short.removeprefix(prefix)
    return short if ":" in short.rsplit("/", 1)[-1] else f"{short}:latest"


def ollama_differences(
    tags: Mapping[str, Any] | None, models: Sequence[Mapping[str, Any]], aliases: Mapping[str, str]
) -> list[str]:
    """Return what is missing, too much or pointing elsewhere, one sentence each; empty if all is as wanted.

    tags: answer of GET /api/tags, or None if the server did not answer. Raises SiteError for another answer.
    models: [{name, state?: present | absent}]; aliases: {alias: model}.
    """
    try:
        has = {normalise(model["name"]): model["digest"] for model in (tags or {}).get("models") or []}
    except (KeyError, TypeError, AttributeError) as error:
        raise SiteError(
            f"ollama_differences: {tags!r}: not an answer of GET /api/tags; is another service on that port?"
        ) from error
    found = []
    for model in models:
        absent = model.get("state", "present") == "absent"
        if absent == (normalise(model["name"]) in has):
            found.append(f"model {model['name']}: {'remove' if absent else 'pull'}")
    for alias, target in sorted(aliases.items()):
        wanted = has.get(normalise(target))
        if wanted is None or has.get(normalise(alias)) != wanted:
            found.append(f"alias {alias} -> {target}: make")
    return found


def model_mirrors(nodes: Sequence[Mapping[str, Any]], node: Mapping[str, Any]) -> list[str]:
    """Return the mirrors a node may copy models from as `address:port`, in the cluster's order.

    nodes: `cluster_nodes`; node: its entry of the node that pulls. A mirror counts if it is on another node
    and its port is open to the node's tier: a firewall would let each question run into its time limit.
    """
    found = []
    for other in nodes:
        port = other["services"].get("model_mirror", {}).get("ports", {}).get("registry")
        if port and other["name"] != node["name"] and is_open(port, node["tier"]):
            found.append(f"{other['address']}:{port['port']}")
    return found
