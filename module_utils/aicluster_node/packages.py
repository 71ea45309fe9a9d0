"""Packages: which are missing, which were left unfinished, and which a run adds."""

import os

from . import system
from .state import read_state, write_state

DPKG_FOLDER = "/var/lib/dpkg"
UNFINISHED = ("half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending")


def package_states():
    """Return {package: its state in dpkg}; of several architectures an installed one, or the last."""
    listing = system.run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    lines = [line.split() for line in listing.splitlines()]
    return dict(sorted(lines, key=lambda line: line[1] == "installed"))


def missing_packages(wanted, states):
    """Return the wanted packages that dpkg does not list as installed."""
    return [name for name in wanted if states.get(name) != "installed"]


def unfinished_packages(states):
    """Return [{name, why}] of packages that an interrupted dpkg left behind; none while a dpkg runs."""
    found = [{"name": name, "why": why} for name, why in sorted(states.items()) if why in UNFINISHED]
    # Updates that dpkg has not yet written into its database; apt refuses all work until it has.
    if not found and any(name.isdigit() for name in os.listdir(DPKG_FOLDER + "/updates")):
        found = [{"name": "dpkg", "why": "was cut off"}]
    return [] if found and dpkg_runs() else found


def dpkg_runs():
    """Return whether a process holds one of dpkg's locks, without taking the lock."""
    import fcntl
    import struct

    lock = struct.Struct("hhqqi")
    for name in ("lock-frontend", "lock"):
        try:
            with open(os.path.join(DPKG_FOLDER, name), "rb") as handle:
                asked = lock.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind = lock.unpack(fcntl.fcntl(handle, fcntl.F_GETLK, asked))[0]
        except FileNotFoundError:
            continue
        if kind != fcntl.F_UNLCK:
            return True
    return False


def record(request):
    """Write down which of the packages and files to come are not there yet: a cleanup may remove those."""
    state = read_state()
    sources = [path for path in request["sources"] if not os.path.lexists(path)]
    states = package_states()
    # An unfinished package was there before, or the run that began it has recorded it.
    missing = missing_packages(request["packages"], states)
    new = [name for name in missing if states.get(name) not in UNFINISHED]
    state["packages"] = sorted(set(state["packages"]) | set(new))
    state["sources"] = sorted(set(state["sources"]) | set(sources))
    write_state(state)
    return {"changed": False}
