"""Our files and their folders: what differs, what no longer belongs, and making and removing folders."""

import hashlib
import os
import stat

from . import system

DIFF_LIMIT_BYTES = 64 * 1024


def compare_file(want, with_text):
    """Return None when the file is as wanted, else {path, reason, before}."""
    path = want["path"]
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"path": path, "reason": "missing", "before": ""}
    if not stat.S_ISREG(found.st_mode):
        return {"path": path, "reason": "not a regular file", "before": ""}
    with open(path, "rb") as handle:
        content = handle.read()
    if hashlib.sha256(content).hexdigest() not in [want["sha256"]] + want["accept"]:
        before = None
        if with_text and want.get("text") and len(content) <= DIFF_LIMIT_BYTES:
            before = content.decode("utf-8", "replace")
        return {"path": path, "reason": "content", "before": before}
    mode = "%04o" % stat.S_IMODE(found.st_mode)
    if (mode, found.st_uid, found.st_gid) != (want["mode"], want["uid"], want["gid"]):
        reason = "owner or mode %s %d:%d" % (mode, found.st_uid, found.st_gid)
        return {"path": path, "reason": reason, "before": None}
    for folder in own_folders(path):
        mode = stat.S_IMODE(os.lstat(folder).st_mode)
        if mode != folder_mode(folder):
            return {"path": path, "reason": "mode %04o of its folder %s" % (mode, folder), "before": None}
    return None


def own_folders(path):
    """Return the folders of the project that lead to a file, outermost first."""
    root = system.STACK_ROOT
    inside = os.path.dirname(path)[len(root) :].split("/") if path.startswith(root + "/") else []
    return ["/".join([root] + inside[1 : depth + 1]) for depth in range(len(inside))]


def folder_mode(folder):
    """Return the mode of a folder of the project: a `secrets` folder is for the one user who reads it."""
    return 0o500 if os.path.basename(folder) == "secrets" else 0o755


def is_there(path):
    """Return whether a file that we wrote is there; a folder in its place is not ours."""
    return os.path.isfile(path) or os.path.islink(path)


def leftover(state, wanted_paths):
    """Return files we wrote that no longer belong, and shared files we no longer have a part in."""
    files = [path for path in state["files"] if is_there(path)]
    shared = [path for path, records in state["fragments"].items() if records and os.path.isfile(path)]
    return sorted(path for path in files + shared if path not in wanted_paths)


def make_parents(path, uid, gid, below=""):
    """Make the parents of `path`, those of the project with their modes; others' stay as they are.

    `below`: a folder that stands for the root of the file system.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(below + parent):
        make_parents(parent, uid, gid, below)
        os.mkdir(below + parent, 0o755)
    for folder in own_folders(path):
        os.chmod(below + folder, folder_mode(folder))
    if os.path.basename(parent) == "secrets":
        os.chown(below + parent, uid, gid)


def remove_metrics(path):
    """Remove the metrics of a unit that goes: nobody renews them, and alerts would call them old for ever."""
    name = os.path.basename(path).partition(".")[0].replace("-", "_")
    metrics = "%s/%s.prom" % (system.METRICS, name)
    if os.path.dirname(path) == system.UNITS and os.path.exists(metrics):
        os.unlink(metrics)


def remove_empty_parents(path):
    """Remove the folders that `path` leaves empty: the project's, and those of a unit's drop-in files."""
    parent = os.path.dirname(path)
    ours = (system.STACK_ROOT, system.UNITS + "/")
    while parent.startswith(ours) and os.path.isdir(parent) and not os.listdir(parent):
        os.rmdir(parent)
        parent = os.path.dirname(parent)
