"""Do the models of a node fit on its disk and into its memory? Asked before the first byte is pulled."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..models import normalise

GB, GIB, MIB = 1000**3, 1024**3, 1024**2
MODELS_FILE = "group_vars/<tier>/models.yml"

Models = Sequence[Mapping[str, Any]]


def number(value: object) -> float | None:
    """Return a positive number as it is, None for anything else: its specification reports that."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
    return float(value) if usable and isinstance(value, int | float) else None


def present(models: object) -> list[dict[str, Any]]:
    """Return the models that shall be there, those with a name."""
    listed = models if isinstance(models, list) else []
    return [
        dict(model)
        for model in listed
        if isinstance(model, Mapping)
        and isinstance(model.get("name"), str)
        and model.get("state") != "absent"
    ]


def list_problems(node: str, models: Models, aliases: Mapping[str, Any]) -> Iterator[str]:
    """Yield models that are listed twice, and aliases that hide a model or name one that is not listed."""
    names = [normalise(model["name"]) for model in models]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            times = names.count(name)
            yield f"model {name} of {node} {times} times: must be listed once; correct {MODELS_FILE}"
    for alias, target in aliases.items():
        if normalise(str(alias)) in names:
            yield f"alias {alias} of {node}: must not be a listed model; rename it in {MODELS_FILE}"
        if normalise(str(target)) not in names:
            yield (
                f"alias {alias} of {node} {target!r}: must be the name of a listed model; add it to "
                f"ollama_models in {MODELS_FILE}, or write one of {', '.join(names) or 'none'}"
            )


def disk_problems(node: str, models: Models, disk_gb: float | None) -> Iterator[str]:
    """Yield models that do not fit on the disk: all of them, and the biggest once more for its update."""
    sizes = [size for model in models if (size := number(model.get("size_gb"))) is not None]
    if not sizes or disk_gb is None:
        return
    needed = (sum(sizes) + max(sizes)) * GB
    if needed > disk_gb * GIB:
        yield (
            f"disk of the models of {node} {needed / GIB:.0f} GiB planned ({len(sizes)} models "
            f"{sum(sizes):.1f} GB, and {max(sizes):.1f} GB once more, because an update is downloaded before "
            f"the old one goes): must fit into the {disk_gb:g} GiB of ollama there; raise its disk_gb or "
            f"take a model off {MODELS_FILE}"
        )


def memory_problems(node: str, models: Models, memory_mb: float | None, at_once: int) -> Iterator[str]:
    """Yield models that do not fit into the memory one by one, and the hungriest together."""
    loaded = {m["name"]: need for m in models if (need := number(m.get("loaded_gb"))) is not None}
    if memory_mb is None:
        return
    limit = memory_mb * MIB
    too_big = {name: need for name, need in loaded.items() if need * GB > limit}
    for name, need in too_big.items():
        yield (
            f"model {name} of {node} {need:g} GB loaded: must fit into the {limit / GB:.1f} GB "
            f"({memory_mb:g} MiB) of ollama there; take a smaller one, or raise memory_mb of ollama"
        )
    hungriest = sorted(loaded.items(), key=lambda item: -item[1])[:at_once]
    together = sum(need for _, need in hungriest)
    if not too_big and at_once > 1 and together * GB > limit:
        listed = " + ".join(f"{name} {need:g}" for name, need in hungriest)
        yield (
            f"models of {node} {together:g} GB loaded together ({listed}): the {at_once} largest must fit "
            f"into the {limit / GB:.1f} GB of ollama there; lower ollama_max_loaded_models in {MODELS_FILE}"
        )


def model_budget(variables: Mapping[str, Any], node: str, service: Mapping[str, Any]) -> list[str]:
    """Return one sentence per model, alias or sum that does not fit on a node; an empty list is good.

    `variables`: the node's ollama_models [{name, size_gb, loaded_gb?, state?}] in GB (10^9 bytes),
    ollama_aliases, ollama_max_loaded_models (1 if not said); `service`: its entry of ollama with memory_mb
    (MiB) and disk_gb (GiB). What is no number is left to the specification of the role.
    """
    models = present(variables.get("ollama_models"))
    aliases = variables.get("ollama_aliases")
    at_once = number(variables.get("ollama_max_loaded_models"))
    return [
        *list_problems(node, models, aliases if isinstance(aliases, Mapping) else {}),
        *disk_problems(node, models, number(service.get("disk_gb"))),
        *memory_problems(node, models, number(service.get("memory_mb")), int(at_once or 1)),
    ]
