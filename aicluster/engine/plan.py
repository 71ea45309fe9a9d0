"""From the differences of one inspection to what a run has to do on the node."""

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from ..site.catalogue import CHANGES
from .declared import CONTAINER_RELOAD, TRIAL
from .desired import Desired
from .facts import ENGINE_UNIT, engine_question, silent
from .files import STACK_ROOT, reactions_of, reactions_to, rule_for
from .shown import plan_lines

CONTAINER_RECREATE = "recreate container"


def checks_for(desired: Desired, paths: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return container -> {command, files}: who has to accept which of the files that are about to change."""
    read = [path for path in paths if rule_for(path, desired.rules).get("change") != "none"]
    found = {
        container: [path for path in read if path.startswith(f"{STACK_ROOT}/{owner}/")]
        for container, owner in desired.container_owner.items()
    }
    checked = {name: programs["check"] for name, programs in desired.programs.items() if "check" in programs}
    return {name: {"command": checked[name], "files": found[name]} for name in checked if found[name]}


def made_by_up(actual: Mapping[str, Any]) -> set[str]:
    """Return the containers that `up` will make, whatever else is due; they read their files then."""
    return {item["service"] for item in actual["containers"] if item["why"] in ("missing", "changed")}


def to_recreate(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the containers that started with a file somebody had changed: only their label is as wanted."""
    edited = [
        item["path"]
        for item in actual["differing"]
        if item["reason"] == "content"
        and rule_for(item["path"], desired.rules).get("change", CHANGES[0]) == CHANGES[0]
    ]
    owed = {name for verb, name in actual["pending"] if verb == CONTAINER_RECREATE}
    readers = {
        container
        for container, owner in desired.container_owner.items()
        if container in owed or any(path.startswith(f"{STACK_ROOT}/{owner}/") for path in edited)
    }
    return sorted(readers - made_by_up(actual) - set(actual["inactive"]))


def to_drain(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the containers to replace whose service brings a program that lets its work end before."""
    replaced = {item["service"] for item in actual["containers"] if item["why"] == "changed"}
    replaced |= set(to_recreate(desired, actual))
    paths = {file.path for file in desired.files}
    programs = {name: f"{STACK_ROOT}/rest/{owner}.py" for name, owner in desired.container_owner.items()}
    return sorted(name for name in replaced - set(actual["inactive"]) if programs[name] in paths)


def reloads_due(
    desired: Desired, actual: Mapping[str, Any], names: Iterable[str], changed: Sequence[str]
) -> list[dict[str, Any]]:
    """Return what `reloading.reload` has to do; a container that is made in this run reads its files then."""
    made = made_by_up(actual) | set(to_recreate(desired, actual))
    return [
        {
            "service": name,
            "command": desired.programs[name]["reload"],
            "confirm": desired.programs[name]["confirm"],
            "files": [
                path for path in changed if (CONTAINER_RELOAD, name) in reactions_to([path], desired.rules)
            ],
        }
        for name in names
        if name not in made and name not in actual["inactive"]
    ]


def services_before(desired: Desired, actual: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return service -> {image, digest, to} where this run is the one that changes the image.

    A run that was interrupted once the files were in place has remembered it already. A rollback, also one
    that was interrupted, must find again what it goes back to.
    """
    coming, found = {item["path"] for item in actual["differing"]}, {}
    for container, replaced in sorted(actual["replaced"].items()):
        service = desired.container_owner[container]
        if f"{STACK_ROOT}/{service}/compose.yaml" in coming and service not in desired.pinned:
            found[service] = {**replaced, "to": desired.images[container]}
    return found


def inactive_services(desired: Desired, actual: Mapping[str, Any]) -> list[str]:
    """Return the services of inactive profiles: they are not provisioned before they start."""
    return sorted({desired.container_owner[container] for container in actual["inactive"]})


def services_to_provision(
    desired: Desired, actual: Mapping[str, Any], wanted_by_probe: Mapping[str, bool]
) -> list[str]:
    """Return services whose provisioning has work: new container, new inputs, or the probe says so.

    Those that need another node come last: where it is away, all else on this node is done.
    """
    touched = {desired.container_owner[container] for container in made_by_up(actual)}
    inactive = inactive_services(desired, actual)
    wanted = [
        service
        for service, provision in desired.provisions.items()
        if service not in inactive
        and (
            service in touched
            or actual["provisioned"].get(service) != provision["digest"]
            or wanted_by_probe.get(service, False)
        )
    ]
    return sorted(wanted, key=lambda service: bool(desired.provisions[service].get("last")))


def split(prepare: dict[str, Any], files: Sequence[str], unit: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide what is to be prepared into the engine's part and the rest; packages come before both."""
    first: dict[str, Any] = {
        "repair": [],
        "packages": [],
        "files": [path for path in prepare["files"] if path in files],
        "remove": [],
        "reactions": [pair for pair in prepare["reactions"] if pair[1] == unit],
        "units": [one for one in prepare["units"] if one["name"] == unit],
        "daemon_reload": False,
    }
    parted = ("files", "reactions", "units")
    return first, {
        **prepare,
        **{key: [one for one in prepare[key] if one not in first[key]] for key in parted},
    }


def has_left(unit: str, desired: Desired) -> bool:
    """Tell whether a unit is one that roles bring files of, and none brings any at present."""
    path = f"/etc/systemd/system/{unit}"
    return bool(rule_for(path, desired.rules)) and not any(one.path.startswith(path) for one in desired.files)


def to_prepare(
    desired: Desired, actual: Mapping[str, Any], reactions: Sequence[tuple[str, str]], interrupted: bool
) -> dict[str, Any]:
    """Return the work below the containers: packages, files and units.

    `interrupted`: an earlier run owes some of the reactions.
    """
    files = [str(item["path"]) for item in actual["differing"]]
    changed = [*files, *actual["leftover"]]
    prepare = {
        "packages": list(actual["packages"]),
        "files": files,
        "remove": list(actual["leftover"]),
        "reactions": [list(pair) for pair in reactions],
        "units": unit_states(desired.units, {item["name"] for item in actual["units"]}, reactions),
        # A run that was interrupted may have stopped before systemd read the files it had put in place.
        "daemon_reload": interrupted or any(path.startswith("/etc/systemd/system/") for path in changed),
    }
    # What dpkg left behind is repaired beside other work. Alone it is none: ours would be among the packages.
    needed = any(bool(part) for part in prepare.values())
    prepare["repair"] = [item["name"] for item in actual["unfinished"]] if needed else []
    return prepare


def make_plan(
    desired: Desired, actual: Mapping[str, Any], wanted_by_probe: Mapping[str, bool]
) -> dict[str, Any]:
    """Return what has to happen on a node, in the two halves the playbooks run.

    `prepare` is done on all nodes in parallel (packages, files, units), `deploy` tier by tier (containers,
    provisioning). `lines` says the same for people, one difference a line.
    """
    changed = [*(str(item["path"]) for item in actual["differing"]), *actual["leftover"]]
    # What an interrupted run owes, but to a unit whose service has left since.
    known = {pair for rule in desired.rules.values() for pair in reactions_of(rule)}
    owed = known & {(verb, unit) for verb, unit in actual["pending"]}
    due = reactions_to(changed, desired.rules) | owed
    called_for = sorted(pair for pair in due if not has_left(pair[1], desired))
    reactions = [pair for pair in called_for if pair[0] != CONTAINER_RELOAD]
    reloading = [pair[1] for pair in called_for if pair[0] == CONTAINER_RELOAD]
    reloads = reloads_due(desired, actual, reloading, changed)
    recreating = to_recreate(desired, actual)
    prepare = to_prepare(desired, actual, reactions, interrupted=bool(owed & set(reactions)))
    images = list(actual["conditions"]["images"])
    before = services_before(desired, actual)
    backups = [service for service in before if service in desired.kept]
    deploy: dict[str, Any] = {
        "containers": [item["service"] for item in actual["containers"]],
        "orphans": list(actual["orphans"]),
        # Containers of other profiles: those to create without starting them, those that run all the same.
        "create_only": [
            item["service"] for item in actual["containers"] if item["service"] in actual["inactive"]
        ],
        "unexpected": list(actual["unexpected"]),
        "drain": to_drain(desired, actual),
        "recreate": recreating,
        "reloads": reloads,
        "provision": services_to_provision(desired, actual, wanted_by_probe),
        "commands": {name: one["command"] for name, one in desired.provisions.items() if "command" in one},
        "empty": not desired.containers,
        # Health checks begin anew with the engine: wait for them before anything is called healthy.
        "wait_for_health": bool(desired.containers) and ("restart", ENGINE_UNIT) in reactions,
    }
    work = ("containers", "orphans", "unexpected", "recreate", "reloads", "wait_for_health", "provision")
    # The engine's own part comes first where it has to pull images.
    engine = (engine_question(desired)["files"], ENGINE_UNIT) if images else ([], "")
    first, rest = split(prepare, *engine)
    unknown = set(desired.container_owner.values()) if silent(actual) else set()
    return {
        "facts": dict(actual["facts"]),
        "prepare": rest,
        "engine": first,
        "images": images,
        # What services are before their images change, and which of them are backed up first.
        "before": before,
        "backups": backups,
        # What the node owes its containers from the moment its files are replaced.
        "owed": [
            *([CONTAINER_RELOAD, name] for name in reloading),
            *([CONTAINER_RECREATE, name] for name in recreating),
        ],
        "prepare_needed": any(bool(part) for part in prepare.values()) or bool(images),
        "deploy": deploy,
        "deploy_needed": any(deploy[part] for part in work),
        "inactive": inactive_services(desired, actual),
        "lines": [
            f"+ backup {service} (before its image {before[service]['image']} changes)" for service in backups
        ]
        + plan_lines(
            {**actual, "unfinished": actual["unfinished"] if prepare["repair"] else []},
            [
                *reactions,
                *((CONTAINER_RECREATE, name) for name in recreating),
                *((CONTAINER_RELOAD, reload["service"]) for reload in reloads),
            ],
            [service for service in deploy["provision"] if service not in unknown],
        ),
        "findings": [],
    }


def unit_states(
    wanted: Iterable[Mapping[str, Any]], deviating: Container[str], reactions: Iterable[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Return what to ask of systemd, a unit at a time: {name, enabled, state}; the latter two where due.

    A restart or reload also starts what does not run.
    """
    # Sorted: a unit that is to be reloaded and restarted is restarted.
    states: dict[str, dict[str, Any]] = {
        unit: {"name": unit, "state": verb + "ed"} for verb, unit in sorted(reactions) if verb != TRIAL
    }
    for unit in wanted:
        if unit["name"] in deviating:
            state = states.setdefault(unit["name"], {"name": unit["name"]})
            state["enabled"] = True
            if not unit.get("boot"):
                state.setdefault("state", "started")
    return list(states.values())
