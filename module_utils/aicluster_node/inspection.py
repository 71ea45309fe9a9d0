"""What differs between the node and its desired state."""

from . import board, docker, engine_start, files, images, packages, probes, shared_files, storage, units
from .state import read_state, write_state
from .system import ENGINE_UNIT


def inspect(request):
    """Compare the node with its desired state; the controller makes a plan of the answer."""
    state = read_state()
    found = docker.project_containers()
    ids = docker.containers_of(found)
    if request["provisioned_now"] is not None:
        state = completed(state, request["provisioned_now"], request["done"], ids)
    compared = [
        shared_files.compare_shared(want, state["fragments"].get(want["path"], []))
        if want.get("fragment") is not None
        else files.compare_file(want, request["with_text"])
        for want in request["files"]
    ]
    differing = [difference for difference in compared if difference]
    states = packages.package_states() if request["packages"] else {}
    missing = packages.missing_packages(request["packages"], states)
    deviating = units.deviating_units(request["units"])
    wanted = request["containers"]
    profile = docker.active_profile(request["container_profiles"], request["profile"])
    inactive = docker.inactive_services(request["container_profiles"], profile)
    containers = docker.deviating_containers(wanted, inactive, found)
    return {
        "facts": board.facts(),
        "profile": profile,
        "inactive": inactive,
        "unexpected": [
            name for name in inactive if name in found and found[name]["state"] in docker.NOT_STOPPED
        ],
        "differing": differing,
        "leftover": files.leftover(state, {want["path"] for want in request["files"]}),
        "packages": missing,
        "unfinished": packages.unfinished_packages(states) if states else [],
        "units": deviating,
        "containers": containers,
        "replaced": docker.replaced_images(containers, found, request["images"]),
        "orphans": sorted(service for service in found if service not in wanted),
        "pending": state["pending"],
        "provisioned": still_provisioned(state, ids),
        "probes": {name: probes.probe(subject) for name, subject in sorted(request["probes"].items())},
        "conditions": conditions(request, differing, missing, deviating, state["pending"], containers),
    }


def completed(state, provisioned_now, done, ids):
    """Return the state after a run that did all its work, and remember it.

    `done`: the reactions of a run about a part of the node, which leaves alone what else is remembered;
    None: the run was about the whole node.
    """
    known = {
        service: state["provisioned"].get(service) if digest is None else [digest, ids.get(service, [])]
        for service, digest in provisioned_now.items()
    }
    provisioned = {service: what for service, what in known.items() if what is not None}
    if done is None:
        after = dict(state, pending=[], provisioned=provisioned, engine=None)
    else:
        owed = [pair for pair in state["pending"] if list(pair) not in done]
        after = dict(state, pending=owed, provisioned=dict(state["provisioned"], **provisioned))
    if after != state:
        write_state(after)
    return after


def still_provisioned(state, ids):
    """Return {service: digest} of the services that were provisioned in the containers they have now.

    Another container may have started without data, whoever made it.
    """
    return {
        service: done[0] for service, done in state["provisioned"].items() if done[1] == ids.get(service, [])
    }


def conditions(request, differing, packages, units, pending, containers):
    """Return the conditions of a run, for the controller to judge; what takes long is asked only if needed.

    `ready`: the engine is as wanted, so its answers about registries count.
    """
    wanted = request["engine"]
    ready = not (
        any(item["path"] in wanted["files"] for item in differing)
        or any(name in wanted["packages"] for name in packages)
        or any(item["name"] == ENGINE_UNIT for item in units)
        or any(unit == ENGINE_UNIT for _verb, unit in pending)
    )
    new = [item["service"] for item in containers if item["why"] in ("missing", "changed")]
    found, info = docker.engine()
    met = None
    if request["firewall"]:
        from .firewalls import firewalls

        met = firewalls()
    return {
        "firewalls": met,
        "engine": dict(found, ready=ready and bool(found["api"])),
        "starting": engine_start.start_to_come(differing, pending, info),
        "compose": docker.compose_version() if new and found["api"] else None,
        "memory_cgroup": board.memory_cgroup(),
        "board": board.board(wanted["programs"]),
        "disks": storage.disks(info),
        "volumes": storage.volumes(storage.docker_root(info)),
        "images": images.missing_images([request["images"][name] for name in new], ready),
    }
