"""What a backup leaves behind: who runs it, its progress, the state of every copy, and metrics."""

import contextlib
import fcntl
import json
import os
import time
from typing import IO, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import aicluster_textfile
from aicluster_backup_tools import CLOCKS_DIFFER_S, BusyError, load, megabytes, save

JOBS = "/opt/aicluster/backup/jobs.json"
STAGING = "/var/lib/aicluster/backup"
STATE = STAGING + "/state.json"
PROGRESS = "/run/aicluster/backup-progress"
LOCK = "/run/lock/aicluster-backup"
# A reader of the lock holds it for an instant.
LOCK_PATIENCE_S = 1.0
METRICS = {
    "backup_last_success_timestamp_seconds": ("success_at", "When the last one that succeeded was complete."),
    "backup_last_duration_seconds": ("seconds", "How long the last copy that succeeded took."),
    "backup_last_added_bytes": ("added_bytes", "What it added to the repository."),
    "backup_last_size_bytes": ("size_bytes", "What it holds, before compression."),
    "backup_last_exit_code": (
        "exit_code", "0 if the last try succeeded, else the exit code of restic, or 1.",
    ),
}  # fmt: skip
# {job, copy, store}; after a try also {tried_at, exit_code, error}, after a success {success_at, seconds,
# added_bytes, size_bytes, files, snapshot}, which a failure leaves as they were.
Record = Dict[str, Any]
Tell = Callable[..., None]


def _locked(handle: IO[str], how: int, patience_s: float) -> bool:
    end = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.1)


@contextlib.contextmanager
def only_one(by: str, path: str = "") -> Iterator[None]:
    """Hold a lock, LOCK if no other is named; raise BusyError, which names who holds it."""
    path = path or LOCK
    with open(path, "a+") as handle:
        if not _locked(handle, fcntl.LOCK_EX, LOCK_PATIENCE_S):
            raise BusyError(refusal(load(path, {})))
        handle.truncate(0)
        handle.write(json.dumps({"pid": os.getpid(), "since": int(time.time()), "by": by}))
        handle.flush()
        yield


def holder() -> Optional[Dict[str, Any]]:
    """Return {pid, since, by} of the run that holds the lock, None where nobody does."""
    try:
        with open(LOCK) as handle:
            return None if _locked(handle, fcntl.LOCK_SH, 0.0) else load(LOCK, {})
    except OSError:
        return None


def refusal(held: Mapping[str, Any]) -> str:
    """Return the sentence that names the run that holds the lock."""
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(held.get("since", 0)))
    return "a backup runs already: pid %s, since %s, started by %s" % (
        held.get("pid", "unknown"), since if held else "a moment ago", held.get("by", "unknown"),
    )  # fmt: skip


def event_of(event: str, one: Record, seconds: float = 0.0) -> Dict[str, Any]:
    """Return what those who follow a run read of an event of a copy; `line` is for people."""
    added, message = one["added_bytes"] if event == "done" else 0, one["error"] if event == "failed" else ""
    said = {"done": "%s added in %.0f s" % (megabytes(added), seconds), "failed": "FAILED: " + message}
    return {
        "job": one["job"], "store": one["store"], "event": event, "bytes": added,
        "seconds": round(seconds, 1), "message": message,
        "line": "%s to %s: %s" % (one["job"], one["store"], said.get(event, event)),
    }  # fmt: skip


def begin_progress() -> Tell:
    """Begin a new file, since one that is followed belongs to one run; return what adds an event to it."""
    os.makedirs(os.path.dirname(PROGRESS), mode=0o755, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(PROGRESS)

    def tell(event: str, one: Record, seconds: float = 0.0) -> None:
        told = event_of(event, one, seconds)
        with open(PROGRESS, "a") as handle:
            handle.write(json.dumps(told) + "\n")
        print(told["line"], flush=True)

    return tell


def plan() -> Dict[str, Any]:
    """Return what this node is to back up: {node, stores, jobs}."""
    with open(JOBS) as handle:
        return dict(json.load(handle))


def copies(wanted: Mapping[str, Any]) -> List[Record]:
    """Return one record for every copy there is to be; of a new one, or of a moved one, only its name.

    What can no longer be read counts as never done.
    """
    kept = load(STATE, {})
    # A node of another name has another repository.
    known = kept["copies"] if kept.get("node") == wanted["node"] else []
    by_name = {(one["job"], one["copy"], one["store"]): one for one in known}
    names = [
        (job["name"], number, store)
        for job in wanted["jobs"]
        for number, store in enumerate(wanted["stores"][: job["copies"]], 1)
    ]
    return [by_name.get(name) or dict(zip(("job", "copy", "store"), name)) for name in names]


def why_old(one: Record, now: float, limit_s: float) -> str:
    """Return why a copy counts as none, as one that is too old; an empty text if it counts."""
    name = "%s to %s" % (one["job"], one["store"])
    if "success_at" not in one:
        return "%s was never copied" % name
    if one["success_at"] > now + CLOCKS_DIFFER_S:
        return "the last copy of %s is of the future: the clock was wrong" % name
    age = now - one["success_at"]
    return "the last copy of %s is %d h old" % (name, age // 3600) if age > limit_s else ""


def keep(node: str, records: Sequence[Record]) -> None:
    """Replace state and metrics, each in one step; raises OSError, as where the disk is full."""
    os.makedirs(os.path.dirname(STATE), mode=0o700, exist_ok=True)
    save(STATE, {"node": node, "copies": records})
    copies = [
        ({"job_name": one["job"], "copy": str(one["copy"]), "store": one["store"]}, one) for one in records
    ]
    aicluster_textfile.publish("aicluster_backup", METRICS, copies)
