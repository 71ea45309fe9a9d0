"""One run at a time: who changes a node, and whether that run is over."""

import getpass
import multiprocessing
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def read_line(path: str) -> str:
    """Return the text of a file of one line; empty where there is none, as on a Mac."""
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def began(pid: int) -> str | None:
    """Return when a process of this machine began, in the kernel's words; None: it is gone, "": who knows."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # of somebody else
    stat = read_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return "" if not stat else None if stat[0] in "ZX" else stat[19]


def process_of_this_run() -> int:
    """Return the id of the run's process. Tasks run in children of it, which go on when it is killed."""
    parent = multiprocessing.parent_process()
    return parent.pid if parent and parent.pid else os.getpid()


def this_run(pid: int, play: str) -> dict[str, Any]:
    """Return who changes nodes here: the process `pid` of `play`, and the machine to look it up on."""
    space = Path("/proc/self/ns/pid")
    host, boot = socket.gethostname(), read_line("/proc/sys/kernel/random/boot_id")
    machine = f"{host} {read_line('/etc/machine-id')} {space.readlink() if space.exists() else ''}"
    start = began(pid) or ""
    return {
        "run": f"{machine} {boot} {pid} {start}",
        "machine": machine,
        "boot": boot,
        "pid": pid,
        "began": start,
        "who": f"{getpass.getuser()}@{host}",
        "play": play,
    }


def is_dead(holder: Mapping[str, Any], me: Mapping[str, Any]) -> bool:
    """Whether a run is seen to be over: it was on this machine, before its boot or as a process now gone."""
    if holder["machine"] != me["machine"]:
        return False
    now = began(holder["pid"])
    return holder["boot"] != me["boot"] or now is None or bool(now and now != holder["began"])


def held_sentence(node: str, holder: Mapping[str, Any], lock: str) -> str:
    """Return the sentence about a node that another run holds."""
    who = f"{holder['who']} (pid {holder['pid']}, {holder['play']})"
    return (
        f"node {node} held by {who} since {holder['since']}, last seen {holder['silent_s']} s ago: must be "
        "changed by one run at a time; wait until that one ends, or, if it is gone for good, "
        f"`sudo rm {lock}` there, and run this again"
    )
