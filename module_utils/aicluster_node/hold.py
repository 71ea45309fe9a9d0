"""One run at a time: the run that changes a node holds it."""

import fcntl
import json
import os
import time

# It is gone after the next boot, and so is any run that held the node.
LOCK_FILE = "/run/aicluster.lock"
# A run renews its hold with each request; the longest request pulls images.
SILENT_S = 24 * 60 * 60
# A switch of profiles holds it (aicluster_profile.py), for no longer than the services it starts may take.
SWITCH_LOCK, SWITCH_S = "/run/aicluster-profile.lock", 600


def hold(_request):
    """Do nothing but hold the node, see `perform_held`."""
    return {"changed": False}


def perform_held(request, perform):
    """Return what `perform(request)` returns, or who holds the node if that is another run.

    A release, the last inspection of a run and a refused file end the hold.
    """
    mine = request["run"]
    if request["verb"] != "release":
        holder = begin(mine, request.get("over"))
        if holder:
            message = "another run holds this node"
            return {"failed": True, "msg": message, "held_by": holder, "lock": LOCK_FILE}
        if not switch_has_ended():
            end(mine)
            return {
                "failed": True,
                "msg": "a switch of profiles does not end; wait for it, then run this again",
            }
    result = perform(request)
    if request["verb"] in ("inspect", "release") or result.get("failed"):
        end(mine)
    return result


def begin(mine, over):
    """Hold the node for the run `mine` ({run, ...}); return None, or the record of the run that holds it.

    The run `over` is dead, and a run that has been silent for long is taken for dead.
    """
    # Boards without a clock of their own learn the time of day late. This clock starts with the boot, as the
    # lock file does.
    now = time.monotonic()

    def is_held(record):
        silent_s = now - record.get("seen", now)
        return bool(record) and record["run"] not in (mine["run"], over) and 0 <= silent_s < SILENT_S

    def renewed(record):
        if is_held(record):
            return record
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        since = record["since"] if record.get("run") == mine["run"] else began
        return dict(mine, since=since, seen=now)

    before = replace_record(renewed)
    return dict(before, silent_s=int(now - before.get("seen", now))) if is_held(before) else None


def switch_has_ended():
    """Wait while a request switches the node's profile; none begins to as long as a run holds the node."""
    limit = time.monotonic() + SWITCH_S
    with open(SWITCH_LOCK, "a") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() >= limit:
                    return False
                time.sleep(0.2)


def end(mine):
    """End the hold of the run `mine`."""
    replace_record(lambda record: {} if record.get("run") == mine["run"] else record)


def replace_record(change):
    """Write `change(record)` into the lock file, one process at a time; return the record before.

    A torn record counts as none, {}.
    """
    with os.fdopen(os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644), "r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            record = json.load(handle)
        except ValueError:
            record = {}
        if not isinstance(record, dict):
            record = {}
        after = json.dumps(change(record))
        handle.seek(0)
        handle.truncate()
        handle.write(after)
    return record
