"""The machine, its kernel and its system."""

import os
import re
import sys

from . import system

CGROUPS_V1 = "/proc/cgroups"
CGROUPS_V2 = "/sys/fs/cgroup/cgroup.controllers"
KERNEL_ARGUMENTS = "/proc/cmdline"
# Where the kernel's arguments are written: Raspberry Pi OS since 12, before 12, Jetson. The first one counts.
BOOT_FILES = ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt", "/boot/extlinux/extlinux.conf")
MEMORY_FILE = "/proc/meminfo"
RELEASE_FILE = "/etc/os-release"
# Only Jetsons have it.
L4T_FILE = "/etc/nv_tegra_release"
ENGINE_PACKAGES = ["docker-ce", "docker.io"]


def facts():
    """Return the facts the toolkit uses: name and release name of the distribution."""
    release = {}
    for line in system.read_text(RELEASE_FILE).splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip('"')
    return {"os": release.get("ID", ""), "os_codename": release.get("VERSION_CODENAME", "")}


def memory_cgroup():
    """Return {on, evidence, cmdline}: whether the kernel counts memory per container; None: unknown."""
    if os.path.exists(CGROUPS_V2):
        on = "memory" in system.read_text(CGROUPS_V2).split()
        evidence = "not in %s" % CGROUPS_V2
    else:
        # subsys_name hierarchy num_cgroups enabled; a container sees the machine's, and that is what counts.
        lines = [line.split() for line in system.read_text(CGROUPS_V1).splitlines()]
        on = any(line[0] == "memory" and line[-1] == "1" for line in lines if line) if lines else None
        evidence = "not enabled in %s" % CGROUPS_V1
    if on is not False:
        return {"on": on, "evidence": "", "cmdline": ""}
    if "cgroup_disable=memory" in system.read_text(KERNEL_ARGUMENTS).split():
        evidence += ", and the kernel was started with cgroup_disable=memory"
    return {
        "on": False,
        "evidence": evidence,
        "cmdline": next((path for path in BOOT_FILES if os.path.isfile(path)), ""),
    }


def l4t():
    """Return the release of a Jetson's system, or "" on other boards and where it is unknown."""
    # "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, ..."
    found = re.match(r"# *R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", system.read_text(L4T_FILE))
    return ".".join(found.groups()) if found else ""


def held_packages():
    """Return the engine's packages that apt holds back."""
    listing = system.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Want}\n"] + ENGINE_PACKAGES)
    return [line.split()[0] for line in listing.splitlines() if line.endswith(" hold")]


def board(programs):
    """Return machine (`uname -m`), bits of the userland, a Jetson's release, and the absent `programs`."""
    memory = re.match(r"MemTotal: +(\d+) kB", system.read_text(MEMORY_FILE))
    release = l4t()
    folders = os.environ.get("PATH", "").split(":") + ["/usr/bin"]

    def is_there(program):
        return any(os.access(os.path.join(folder, program), os.X_OK) for folder in folders)

    return {
        "memory_mb": int(memory.group(1)) // 1024 if memory else None,
        "machine": os.uname().machine,
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "l4t": release,
        # This costs one more process, so only Jetsons are asked.
        "held": held_packages() if release else [],
        "absent": [program for program in programs if not is_there(program)],
    }
