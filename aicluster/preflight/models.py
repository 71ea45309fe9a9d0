"""What `kong_models` says of models, against the models and aliases that nodes have."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..budget.models import present
from ..gateway.routing import NEEDS, able, endpoints_of, names_of
from ..models import normalise
from ..site.rules import suggestion
from .subjects import Site, shared

FILE = "group_vars/all/models.yml"
VERBS = {"tools": "use tools", "thinking": "think", "vision": "see images"}


def kong_models(site: Site) -> list[dict[str, Any]]:
    """Return the models that `kong_models` describes."""
    return present(shared(site, "kong_models"))


def known_names(site: Site) -> dict[str, str]:
    """Return the models and aliases of all nodes: the name in a server's list -> as it was written."""
    written: list[str] = []
    for one in site["hosts"].values():
        models = present(one.get("ollama_models"))
        written += [*map(str, one.get("ollama_aliases") or ()), *(model["name"] for model in models)]
    return {normalise(name): name for name in written}


def routing_errors(site: Site) -> Iterator[str]:
    """Yield models that are described twice, and substitutes that nobody has."""
    models, names = kong_models(site), known_names(site)
    for name, times in Counter(normalise(model["name"]) for model in models).items():
        if times > 1:
            yield f"model {name} of kong_models {times} times: must be described once; correct {FILE}"
    for model in models:
        name, other = normalise(model["name"]), model.get("substitute")
        others = {one: written for one, written in names.items() if one != name}
        if other and name in names and normalise(other) not in others:
            yield (
                f"substitute of model {model['name']} {other!r}: must be another model or alias of a node; "
                f"{suggestion(other, others.values())} in {FILE}"
            )


def model_notes(site: Site, nodes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield models that no node has, and what those behind one alias do not have in common."""
    models, names = kong_models(site), known_names(site)
    if idle := [model["name"] for model in models if names and normalise(model["name"]) not in names]:
        yield f"no node has {', '.join(idle)}, which {FILE} describes"
    for offers in names_of(endpoints_of(nodes), site["hosts"], models).values():
        shared = [one for one in offers if not one["spare"] and one["shown"] != one["model"]]
        behind = ", ".join(f"{one['model']} on {one['node']}" for one in shared)
        can = {VERBS[need]: [one["node"] for one in shared if able(one, [need])] for need in NEEDS}
        least = min((one["context"] for one in shared), default=0)
        can[f"take more than {least} tokens"] = [one["node"] for one in shared if one["context"] > least]
        unlike = [
            f"only {' and '.join(who)} can {verb}" for verb, who in can.items() if 0 < len(who) < len(shared)
        ]
        if unlike:
            yield f"alias {shared[0]['shown']} ({behind}): {', '.join(unlike)}; others get no such request"
