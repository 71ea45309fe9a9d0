"""Where the engine keeps its data, and the file systems a run writes to."""

import json
import os
import re

from . import system

DOCKER_ROOT = "/var/lib/docker"
CONTAINERD_FILE = "/etc/containerd/config.toml"
CONTAINERD_ROOT = "/var/lib/containerd"


def written_root(text):
    """Return the folder a daemon.json wants the engine to keep its data in; its old name is `graph`."""
    try:
        file = json.loads(text or "{}")
        return str(file.get("data-root") or file.get("graph") or DOCKER_ROOT)
    except (ValueError, AttributeError):
        return DOCKER_ROOT


def docker_root(info):
    """Return the folder the engine says it keeps its data in; if it does not answer, the file's."""
    return info.get("DockerRootDir") or written_root(system.read_text(system.DAEMON_FILE))


def in_containerd(info):
    """Return whether the engine keeps images and containers in containerd's store, and not in its own."""
    return dict(info.get("DriverStatus") or []).get("driver-type", "").startswith("io.containerd.")


def store(info, text):
    """Return how the engine stores its data, and where it would with the file to come, links resolved.

    None: unknown, as the engine does not answer.
    """
    remapped = "name=userns" in (info.get("SecurityOptions") or [])
    root = docker_root(info)
    return {
        # With remapped users the engine says /var/lib/docker/100000.100000.
        "root": os.path.realpath(re.sub(r"/\d+\.\d+$", "", root) if remapped else root),
        "root_to_come": os.path.realpath(written_root(text)),
        "driver": info.get("Driver"),
        "in_containerd": in_containerd(info) if info else None,
        "remapped": remapped if info else None,
    }


def image_root(info, root):
    """Return where the engine keeps images and what containers write; `root` is where it keeps all else.

    With containerd's image store, the default since Docker 29, that is where containerd has its own data.
    """
    if info and not in_containerd(info):
        return os.path.join(root, info.get("Driver", ""))
    if "/docker/containerd/" in ((info.get("Containerd") or {}).get("Address") or ""):
        # A containerd that the engine starts itself.
        return os.path.join(root, "containerd")
    head = re.split(r"(?m)^\s*\[", system.read_text(CONTAINERD_FILE))[0]
    written = re.search(r"""(?m)^\s*root\s*=\s*["'](/[^"']*)""", head)
    return written.group(1) if written else CONTAINERD_ROOT


def disks(info):
    """Return the file systems a run writes to. Volumes and images are named where they have their own."""
    root = docker_root(info)
    found = [disk("/", False), disk(system.STACK_ROOT, False), disk(root, True)]
    for path, data in ((os.path.join(root, "volumes"), True), (image_root(info, root), False)):
        other = disk(path, data)
        if other["device"] not in [one["device"] for one in found]:
            found.append(other)
    return found


def disk(path, docker):
    """Return {path, mount, device, docker, free_mb, size_mb} of the file system that has `path`, or will.

    `docker`: it holds data of services; of several such entries, the last counts.
    """
    # Links are resolved: the mount point above a link need not be that of its target.
    place = os.path.realpath(path)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    unit = float(1 << 20)
    device = os.stat(place).st_dev
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return {
        "path": path,
        "mount": place,
        "device": device,
        "docker": docker,
        "free_mb": found.f_bavail * found.f_frsize / unit,
        "size_mb": found.f_blocks * found.f_frsize / unit,
    }


def volumes(root):
    """Return the project's volumes, without their prefix: data of services that may have no container now."""
    prefix = system.PROJECT + "_"
    try:
        listed = os.listdir(os.path.join(root, "volumes"))
    except OSError:
        return []
    return sorted(name[len(prefix) :] for name in listed if name.startswith(prefix))
