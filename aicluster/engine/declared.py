"""What a role declares to deploy to a node: packages, units, files, containers, provisioning.

A service says it in roles/<service>/meta/service.yml, next to what it is, as the table DECLARED describes it;
a role that is no service in its variable `__<role>_state`, with the same keys.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..site.catalogue import DECLARED, file_of, split
from ..site.rules import suggestion
from ..site.schema import Reader

CONTAINER_RELOAD = "reload container"
TRIAL = "trial"
# The roles that are no service.
FOUNDATION = ("base", "docker_engine", "stack")


def declared(role: str, said: object, variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a role declares, with templates; `said`: what its service.yml says."""
    return dict(variables.get(f"__{role}_state", {})) if role in FOUNDATION else split(said)[1]


def reader_of(service: str, templates: bool = False) -> Reader:
    """Return the reader that names this service, and the file to correct."""
    return Reader(f"service {service}", file_of(service), {}, templates)


def problems(service: str, said: Mapping[str, Any], templates: bool = False) -> Iterator[str]:
    """Yield one sentence for each mistake in what a service declares.

    `templates`: it is not rendered yet, so a template may stand for any value.
    """
    reader = reader_of(service, templates)
    if said:
        yield from reader.mapping("", said, DECLARED, None)
    containers = said.get("containers", {})
    programs = mappings_in(containers)
    for name, keys in programs.items():
        if ("reload" in keys) != ("confirm" in keys):
            there, other = ("reload", "confirm") if "reload" in keys else ("confirm", "reload")
            needed = f"must be there as {there} is, since a reload counts once it is confirmed"
            yield reader.wrong(f"containers.{name}.{other}", "missing", needed, "add it")
    if isinstance(containers, Mapping) and not any("reload" in keys for keys in programs.values()):
        for pattern, rule in mappings_in(said.get("files")).items():
            if rule.get("change") == "reload":
                needed = "must be what a container can do, and none has a reload"
                yield reader.wrong(f"files.{pattern}.change", "'reload'", needed, "add reload and confirm")


def strangers(service: str, said: Mapping[str, Any], containers: Iterable[str]) -> Iterator[str]:
    """Yield the containers a service declares something about, and does not have."""
    own = sorted(containers)
    for name in said.get("containers", {}):
        if name not in own:
            rule = f"must be one of the role's compose file, {', '.join(own) or 'which it does not have'}"
            fix = suggestion(name, own, "take it off")
            yield reader_of(service).wrong(f"containers.{name}", "unknown", rule, fix)


def rules_of(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a role's rules for files; of those that mean a reload, with the containers it is for."""
    reloading = [name for name, keys in said.get("containers", {}).items() if "reload" in keys]
    return {
        pattern: {**rule, CONTAINER_RELOAD: reloading} if rule.get("change") == "reload" else dict(rule)
        for pattern, rule in said.get("files", {}).items()
    }


def mappings_in(value: object) -> dict[str, Mapping[str, Any]]:
    """Return the mappings in a mapping, whatever else is in it, or whatever else it is."""
    items = value.items() if isinstance(value, Mapping) else ()
    return {str(name): item for name, item in items if isinstance(item, Mapping)}
