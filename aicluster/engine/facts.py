"""What the preflight checks a node by: the facts of an inspection, and what the node must have."""

from collections.abc import Mapping
from typing import Any

from ..preflight.node import node_findings
from .desired import ENGINE_ROLE, Desired
from .files import STACK_ROOT

ENGINE_UNIT = "docker"
# Limits of a node that are checked as they are.
NODE_LIMITS = ("disk_floor_mb", "disk_budget", "disk_reserved_gb", "architecture", "memory_mb")


def engine_question(desired: Desired) -> dict[str, Any]:
    """Return what must be as wanted before the engine is asked for images: its files and packages.

    With it the programs of its runtimes; one without a path is known to the engine by its type.
    """
    runtimes = desired.limits.get("engine", {}).get("runtimes", {})
    return {
        "files": [file.path for file in desired.files if file.owner == ENGINE_ROLE],
        "packages": desired.limits.get("engine_packages", []),
        "programs": sorted({runtime["path"] for runtime in runtimes.values() if "path" in runtime}),
    }


def services_there(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the services that are on the node: their part of the project, or a file if they have none."""
    missing = {str(item["path"]) for item in actual["differing"] if item["reason"] == "missing"}
    contained = set(desired.container_owner.values())
    there = {
        file.owner
        for file in desired.files
        if file.path not in missing
        and (file.owner not in contained or file.path == f"{STACK_ROOT}/{file.owner}/compose.yaml")
    }
    return [service for service in desired.limits["disk_gb"] if service in there]


def engine_changes(plan: Mapping[str, Any]) -> bool:
    """Whether a plan, or one that was predicted before it, changes the engine."""
    about_it = plan.get("scope", {}).get("only") == ENGINE_ROLE
    return bool(plan.get("engine_changes") or (about_it and plan["prepare_needed"]))


def new_services(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the services of which a node has nothing yet: no file, no container, no volume."""
    missing = {str(item["path"]) for item in actual["differing"] if item["reason"] == "missing"}
    there = {file.owner for file in desired.files if file.path not in missing}
    without = {item["service"] for item in actual["containers"] if item["why"] == "missing"}
    there |= {owner for container, owner in desired.container_owner.items() if container not in without}
    volumes = set(actual["conditions"]["volumes"])
    there |= {service for service, names in desired.volumes.items() if volumes & set(names)}
    return [service for service in desired.limits.get("disk_gb", {}) if service not in there]


def wanted_of(
    desired: Desired, actual: Mapping[str, Any], only: str = "", predicted: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what `node_findings` compares a node with.

    `only`: the one role of this run; `predicted`: in check mode, the plan of the role before it.
    """
    limits, missing = desired.limits, set(actual["packages"])
    comes = predicted["wanted"]["engine"]["coming"] if predicted else {"engine": False, "compose": False}
    images: dict[str, list[str]] = {}
    for container, image in desired.images.items():
        images.setdefault(image, []).append(desired.container_owner[container])
    coming = {
        "engine": comes["engine"] or limits["engine"]["packages"].get("engine") in missing,
        # The plugin works with the client, which is a package of its own.
        "compose": comes["compose"] or bool(missing & set(limits["engine_packages"])),
    }
    return {
        "only": only,
        "containers": bool(desired.containers),
        "engine": {**limits["engine"], "coming": coming},
        **{key: limits[key] for key in NODE_LIMITS},
        "coming_gb": {service: limits["disk_gb"][service] for service in new_services(desired, actual)},
        "packages": sorted(missing),
        "firewall": limits.get("firewall"),
        "images": images,
        "one_major": {
            container: image
            for container, image in desired.images.items()
            if desired.container_owner[container] in limits["one_major"]
        },
    }


def found_of(actual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that `node_findings` checks."""
    found = actual["conditions"]
    unit = next((unit["why"] for unit in actual["units"] if unit["name"] == ENGINE_UNIT), "")
    absent = not found["engine"]["api"] and unit.startswith("not there")
    owned = {"replaced": actual["replaced"]}
    return {**found, **owned, "engine": {**found["engine"], "absent": absent}}


def silent(actual: Mapping[str, Any]) -> bool:
    """Whether an engine that should hold containers is installed but does not answer: it may not be empty."""
    engine = found_of(actual)["engine"]
    return bool(actual["containers"]) and not engine["api"] and not engine["absent"]


def to_record(plan: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the packages and repository files a run is about to add, the engine's repository included."""
    engine = plan["wanted"]["engine"]
    repository = engine["repository"] if any(engine["coming"].values()) else {"packages": [], "files": []}
    return {
        "packages": [*plan["prepare"]["packages"], *repository["packages"]],
        "sources": list(repository["files"]),
    }


def pull_findings(plan: Mapping[str, Any], answer: Mapping[str, Any], node: str) -> list[str]:
    """Return what is wrong with a node after its images were pulled; the engine may be new in this run."""
    found = {**plan["found"], **answer, "engine": {**answer["engine"], "absent": False}}
    installed = {"engine": False, "compose": False}
    wanted = {**plan["wanted"], "engine": {**plan["wanted"]["engine"], "coming": installed}}
    return node_findings(found, node, wanted)
