"""Putting delivered files in place, all of them or none."""

import base64
import io
import os
import subprocess
import tarfile

from . import system
from .engine_start import last_ran_with
from .files import is_there, make_parents, remove_empty_parents, remove_metrics
from .shared_files import as_json, merged, overridden, remove_our_part, without_our_part
from .staging import check_staged
from .state import read_state, write_state
from .units import forget_starts


def deliver(request):
    """Validate all files, then put them in place; the owed reactions are written down first.

    The next run repairs an interrupted one: it finds files that differ by comparing, reactions in the
    `pending` list, and containers by their digest label.
    """
    state = read_state()
    fragments = {
        want["path"]: want["fragment"] for want in request["files"] if want.get("fragment") is not None
    }
    theirs = {path: without_our_part(path, state["fragments"].get(path, [])) for path in fragments}
    files = delivered_files(request["archive"], theirs, fragments)
    check_staged(request, files)
    records = {path: overridden(theirs[path], fragment) for path, fragment in fragments.items()}
    owned = {want["path"] for want in request["files"]} - set(fragments)
    state = owing(state, request, files)
    # Until all files are in place, a shared file may hold the last run's part as well as this one's.
    both = {path: old + records.get(path, []) for path, old in state["fragments"].items()}
    write_state(dict(state, files=sorted(owned.union(state["files"])), fragments=dict(records, **both)))
    for path, content, mode, uid, gid in files:
        make_parents(path, uid, gid)
        system.replace_file(path, content, mode, uid, gid)
    for path in request["remove"]:
        if path in state["fragments"]:
            remove_our_part(path, state["fragments"][path])
        else:
            remove_file(path)
    if not request["partial"]:
        # What another run delivered since this one inspected is found by the next one.
        there = {path for path in state["files"] if is_there(path)}
        write_state(dict(state, files=sorted(owned | there), fragments=records))
    forget_starts(unit for verb, unit in request["reactions"] if verb == "restart")
    return {"changed": bool(files or request["remove"])}


def delivered_files(archive, theirs, fragments):
    """Return [(path, content, mode, uid, gid)]; shared files are whole, with what others have in them."""
    files = []
    for path, content, mode, uid, gid in sorted(members(archive)) if archive else []:
        if os.path.isdir(path) and not os.path.islink(path):
            raise system.RefusedError("%s is a folder where a file belongs; look at it and remove it" % path)
        folder = os.path.dirname(path)
        while not os.path.isdir(folder):
            if os.path.lexists(folder):
                raise system.RefusedError("%s is no folder, and files belong there; look at it" % folder)
            folder = os.path.dirname(folder)
        shared = path in fragments
        whole = as_json(merged(theirs[path], fragments[path])).encode() if shared else content
        files.append((path, whole, mode, uid, gid))
    return files


def members(archive):
    """Yield (absolute path, content, mode, uid, gid) of every file in the base64 tar.gz."""
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as tar:
        for member in tar:
            yield "/" + member.name, tar.extractfile(member).read(), member.mode, member.uid, member.gid


def owing(state, request, files):
    """Return the state with the reactions the run owes, and with the engine's file if that is replaced."""
    pending = sorted(set(map(tuple, state["pending"])) | set(map(tuple, request["reactions"])))
    before = state["engine"]
    if not before and system.DAEMON_FILE in [path for path, _content, _mode, _uid, _gid in files]:
        before = last_ran_with(state["fragments"].get(system.DAEMON_FILE, []))
    return dict(state, pending=pending, engine=before)


def remove_file(path):
    """Remove a file and the folders it leaves empty. A unit is stopped first, while systemd knows it."""
    if os.path.dirname(path) == system.UNITS and os.path.exists(path):
        system.run(["systemctl", "disable", "--now", os.path.basename(path)])
    if is_there(path):
        os.unlink(path)
    remove_metrics(path)
    remove_empty_parents(path)


def begin(request):
    """Begin the trial of what was delivered: without the confirmation that `handled` is, it undoes itself."""
    return on_trial(request["trials"], "try") or {"changed": True}


def on_trial(programs, word):
    """Run programs with a word; return the answer that names the first one that fails, or None."""
    for program in programs:
        done = subprocess.run([program, word], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            said = done.stdout.decode("utf-8", "replace").strip()
            message = "`%s %s` failed (rc %d): %s" % (program, word, done.returncode, said)
            return {"failed": True, "msg": message}
    return None


def handled(request):
    """Confirm what is on trial, and cross out reactions that were carried out."""
    failure = on_trial(request["trials"], "confirm")
    if failure:
        return failure
    state = read_state()
    left = [pair for pair in state["pending"] if pair not in request["reactions"]]
    restarted = not any(unit == system.ENGINE_UNIT for _verb, unit in left)
    write_state(dict(state, pending=left, engine=None if restarted else state["engine"]))
    return {"changed": False}
