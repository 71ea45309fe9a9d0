"""What of a site would not be backed up, found in its description."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from ..site.catalogue import file_of
from ..site.nodes import nodes_running
from ..site.relations import names
from ..site.vocabulary import YAML_LOADER
from .jobs import copies_of, kept_by
from .site import SITE
from .stores import BACKUP, STORE, Node, stores_of

# Jinja's comments and statements, and its expressions.
TAGS, EXPRESSION = re.compile(r"{#.*?#}|{%.*?%}", re.DOTALL), re.compile(r"{{.*?}}", re.DOTALL)
COMPUTED = "computed"


def named_volumes(template: str) -> list[str]:
    """Return the names at the end of a compose file's template, below `volumes`, without computed ones.

    Only these lines are read: what is above them needs a node's variables. Raises ValueError where they are
    no YAML.
    """
    text = EXPRESSION.sub(COMPUTED, TAGS.sub("", template))
    found = re.search(r"^volumes:.*\n(^([ #].*)?\n)*", f"{text}\n", re.MULTILINE)
    try:
        volumes = yaml.load(found[0], Loader=YAML_LOADER)["volumes"] if found else {}
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    return [name for name in volumes or () if COMPUTED not in name]


def volume_problems(
    placed: Iterable[Mapping[str, Any]], volumes: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield volumes of compose files that no entry in `backup` names, of the service or of one beside it.

    `placed`: services of a node, with their entries; `volumes`: service -> those of its compose file.
    """
    for services in placed:
        for service, entry in services.items():
            owners = [entry, *(services[name] for name in names(entry, "beside") if name in services)]
            named = {kept.get("volume") for owner in owners for kept in owner.get("backup") or ()}
            for volume in volumes.get(service, ()):
                if volume not in named:
                    yield (
                        f"volume {volume} of service {service} unnamed: must be in an entry of its backup; "
                        f"add `{{volume: {volume}}}`, or with `none` the reason why it is not kept, in "
                        f"{file_of(service)}"
                    )


def drill_problems(services: Mapping[str, Any], programs: Sequence[str]) -> Iterator[str]:
    """Yield services whose drill is no file of their role, or has nothing to restore.

    `programs`: the Python files in files/ of all roles, as `<role>/files/<name>`.
    """
    for service, entry in services.items():
        drill = entry.get("drill")
        if drill and f"{service}/{drill}" not in programs:
            yield (
                f"drill of service {service} {drill!r}: must be a Python file below files/ of its role; add "
                f"roles/{service}/{drill}, or correct it in {file_of(service)}"
            )
        if drill and not kept_by(entry):
            yield (
                f"drill of service {service} {drill!r}: must have something to restore, and its backup keeps "
                f"nothing; remove it, or add an entry to backup in {file_of(service)}"
            )


def size_of(entry: Mapping[str, Any], position: int) -> int:
    """Return the GiB a service may have in the store at a position: of its entries, else its own."""
    kept = [one for one in kept_by(entry) if copies_of(one) > position]
    own = [entry["disk_gb"]] if any("disk_gb" not in one for one in kept) else []
    return sum([*own, *(one["disk_gb"] for one in kept if "disk_gb" in one)])


def store_problems(nodes: Sequence[Node]) -> Iterator[str]:
    """Yield stores that are smaller than what may be kept there."""
    sizes: dict[str, dict[str, int]] = {}
    for node in nodes_running(nodes, BACKUP):
        for position, store in enumerate(stores_of(nodes, node["host"])):
            for service, entry in node["services"].items():
                if size := size_of(entry, position):
                    sizes.setdefault(store["name"], {})[f"{service} of {node['name']}"] = size
    for store in nodes_running(nodes, STORE):
        parts, has = sizes.get(store["name"], {}), store["services"][STORE]["disk_gb"]
        if sum(parts.values()) > has:
            listed = ", ".join(f"{name} {size}" for name, size in parts.items())
            yield (
                f"disk_gb of {STORE} on {store['name']} {has}: must hold the {sum(parts.values())} GiB that "
                f"are kept there ({listed}); raise it, or write a smaller disk_gb or `copies: 1` into an "
                "entry in backup of one of them"
            )


def backup_problems(nodes: Sequence[Node]) -> list[str]:
    """Return one sentence for each node whose data has no way into a store, and each store that is too small.

    `nodes`: entries of `cluster_nodes`.
    """
    found = [
        f"node_name {SITE} of {node['host']}: must not be that of the repository of the site's own copy; "
        "choose another"
        for node in nodes
        if node["name"] == SITE
    ]
    for node in nodes:
        if BACKUP not in node["services"]:
            found += [
                f"service {service} on {node['name']} has data to keep: must run beside {BACKUP}; add "
                f"`- {BACKUP}` to the node_services there, or move {service} to a node that has it"
                for service, entry in node["services"].items()
                if kept_by(entry)
            ]
        elif not stores_of(nodes, node["host"]):
            found.append(
                f"service {BACKUP} on {node['name']} has no store: {STORE} must run on another node; add "
                f"`- {STORE}` to the node_services of another tier"
            )
    return [*found, *store_problems(nodes)]
