# SPDX-License-Identifier: Apache-2.0
"""The conditions a run depends on: the controller decides which of them are findings."""

from . import board, docker, engine_start, images, storage


def conditions(request, differing, packages, units, pending, containers):
    """Return the conditions on this node; what takes long is asked only where there is work.

    `ready`: the engine is as wanted, so its answers about registries count.
    """
    wanted = request["engine"]
    ready = not (
        any(item["path"] in wanted["files"] for item in differing)
        or any(name in wanted["packages"] for name in packages)
        or any(item["name"] == wanted["unit"] for item in units)
        or any(unit == wanted["unit"] for _verb, unit in pending)
    )
    new = [item["service"] for item in containers if item["why"] in ("missing", "changed")]
    found, info = docker.engine()
    return {
        "engine": dict(found, ready=ready and bool(found["api"])),
        "starting": engine_start.start_to_come(differing, pending, info),
        "compose": docker.compose_version() if new and found["api"] else None,
        "memory_cgroup": board.memory_cgroup(),
        "board": board.board(wanted["programs"]),
        "disks": storage.disks(info),
        "volumes": storage.volumes(storage.docker_root(info)),
        "images": images.missing_images([request["images"][name] for name in new], ready),
    }
