#!/usr/bin/env python3
"""Restores the newest copies, has the drills of their services prove them, and deletes what was restored.

Exit codes: 0 all copies are good, 1 one is not, 75 refused because a drill is under way.
"""

import contextlib
import datetime
import json
import os
import shutil
import signal
import sys
import time
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import aicluster_backup_restic as restic
import aicluster_backup_tools as tools
import aicluster_textfile
from aicluster_backup_record import only_one
from aicluster_backup_store import VOLUME
from aicluster_backup_tools import BusyError, FailedError, commands_of, end, load, require_answer, save
from aicluster_drill_kit import LABEL
from aicluster_verify import ROOT

DRILLS = ROOT + "/backup_store/drills.json"
PROGRAMS = ROOT + "/backup_store/drills"
# Lines of a node, the number of a copy, the password of the repository, and its address or HERE.
SECRETS = ROOT + "/backup_store/secrets/drills"
HERE = "here"
STATE = "/var/lib/aicluster/drill.json"
SCRATCH = "/var/lib/aicluster/drill"
LOCK = "/run/lock/aicluster-drill"
# What a restore leaves free on the disk.
FREE_BYTES = 2 << 30
NAMED_AT_MOST = 5
METRICS = {
    "backup_last_restore_drill_success_timestamp_seconds": ("at", "When a restored copy was last proven."),
    "backup_restore_drill_seconds": (
        "seconds", "From nothing to a verified service, when a copy was last proven.",
    ),
    "backup_restore_drill_data_age_seconds": ("age_seconds", "How old the data was that was proven then."),
    "backup_restore_drill_rows": ("count", "How many rows, objects or notebooks it had."),
}  # fmt: skip
# What is restored: an entry of DRILLS.
Wanted = Mapping[str, Any]
# {node, job, copies: {number: {store, at, seconds, age_seconds, count, snapshot}}}; after a try also
# {tried_at, copy, error}, after a success {evidence, rows, newest}. A failure changes only what a try adds.
Record = Dict[str, Any]


# --- what is known ---


def records_of(wanted: Sequence[Wanted], known: Sequence[Record]) -> List[Record]:
    """Return one record for each job to restore, without copies that are in another store by now."""
    by_name = {(one["node"], one["job"]): one for one in known}
    found = []
    for one in wanted:
        new = {"node": one["node"], "job": one["job"], "copies": {}}
        record = dict(by_name.get((one["node"], one["job"]), new))
        stores = {str(number): store for number, store in enumerate(one["stores"], 1)}
        record["copies"] = {n: copy for n, copy in record["copies"].items() if stores.get(n) == copy["store"]}
        found.append(record)
    return found


def keep(records: Sequence[Record]) -> None:
    """Replace state and metrics, each in one step; the label of the scraped node would overwrite `node`."""
    save(STATE, {"drills": records})
    copies = [
        ({"source": one["node"], "job_name": one["job"], "copy": number}, copy)
        for one in records
        for number, copy in sorted(one["copies"].items())
    ]
    aicluster_textfile.publish("aicluster_drill", METRICS, copies)


# --- restore ---


def copy_of(wanted: Wanted, copy: int, day: datetime.date) -> int:
    """Return the number of the copy that is restored: the one that is asked for, or with 0 each in turn."""
    copies = len(wanted["stores"])
    return min(copy, copies) or day.toordinal() % copies + 1


def secrets() -> Dict[Tuple[str, int], Tuple[str, str]]:
    """Return (node, number of the copy) -> password and address of its repository."""
    with open(SECRETS) as handle:
        lines = [line.split() for line in handle if line.strip()]
    return {(node, int(number)): (password, address) for node, number, password, address in lines}


class Repository:
    """The repository of a node, here or in another store."""

    def __init__(self, node: str, password: str, address: str) -> None:
        """A restore adds its lock, and nothing else."""
        mounts, network = [], "host"  # type: List[str], str
        if address == HERE:
            folder = "%s/%s" % (tools.mountpoint(VOLUME), node)
            if not os.path.isdir(folder + "/locks"):
                raise FailedError("nothing has arrived in its repository")
            mounts = ["--volume", folder + ":/repository:ro", "--volume", folder + "/locks:/repository/locks"]
            network, address = "none", "/repository"
        self._environment = {"RESTIC_PASSWORD": password, "RESTIC_REPOSITORY": address}
        self._options = [*restic.by_name([*self._environment]), "--label", LABEL, "--tmpfs", "/tmp"]
        self._options += ["--network", network, *mounts]

    def restic(self, arguments: Sequence[str], options: Sequence[str] = ()) -> str:
        """Return what restic prints, in a container of its own with more options."""
        container = restic.beside(["GOMEMLIMIT="], [*self._options, *options])
        argv = [*container, "--no-cache", "--retry-lock", restic.LOCK_LIMIT, *arguments]
        return restic.output(argv, arguments[0], self._environment)

    def newest(self, node: str, job: str) -> Dict[str, Any]:
        """Return the newest snapshot of a job."""
        said = self.restic(["snapshots", "--json", "--no-lock", "--host", node, "--tag", job])
        found = json.loads(said or "[]")
        if not found:
            raise FailedError("there is no snapshot of it")
        return dict(max(found, key=lambda one: restic.seconds_of(one["time"])))

    def restore(self, snapshot: str, folder: str) -> None:
        """Restore a snapshot with the owners and modes of its files."""
        options = [*restic.MAY_RESTORE, "--volume", folder + ":/target"]
        self.restic(["restore", snapshot, "--target", "/target", "--quiet"], options)


def require_room(snapshot: Mapping[str, Any]) -> None:
    """Raise FailedError unless a snapshot fits on the disk."""
    size = snapshot.get("summary", {}).get("total_bytes_processed", 0)
    tools.require_room(SCRATCH, size + FREE_BYTES, ", of which %d MB stay free" % (FREE_BYTES // 10**6))


def prove(wanted: Wanted, folder: str) -> Dict[str, Any]:
    """Return the answer of a service's drill; raise FailedError if the copy is not good."""
    environment = {
        "PYTHONPATH": os.path.dirname(os.path.abspath(__file__)), "PYTHONDONTWRITEBYTECODE": "1",
        "DRILL_IMAGE": wanted["image"], "DRILL_UID": str(wanted["uid"]),
    }  # fmt: skip
    program = "%s/%s.py" % (PROGRAMS, wanted["service"])
    # Its complaints belong into the journal.
    answer = tools.ask([sys.executable, program, folder], env=dict(os.environ, **environment), stderr=None)
    try:
        said = dict(json.loads(answer.out.strip().split("\n")[-1]))
        evidence = str(said["evidence"])
    except (ValueError, TypeError, KeyError):
        raise FailedError("%s ended with %d and no answer" % (program, answer.code)) from None
    if answer.code or not said.get("ok"):
        raise FailedError(evidence)
    return said


def losses(before: Mapping[str, int], now: Mapping[str, int]) -> List[str]:
    """Return what is empty by now, or lost more than half of its rows: probably by mistake."""
    return [
        "%s has %s rows, the time before %d" % (name, now.get(name, "no"), rows)
        for name, rows in sorted(before.items())
        if rows and now.get(name, 0) * 2 < rows
    ]


def require_sense(
    record: Record, wanted: Wanted, said: Mapping[str, Any], taken: float, recent_days: int
) -> None:
    """Raise FailedError if what was restored cannot be what people have."""
    lost = losses(record.get("rows", {}), said.get("rows", {}))
    if lost:
        raise FailedError(
            "%s; if that is intended: sudo %s accept %s %s"
            % ("; ".join(lost[:NAMED_AT_MOST]), os.path.abspath(__file__), wanted["node"], wanted["job"])
        )
    newest = said.get("newest")
    if recent_days and newest is not None and taken - newest > recent_days * 86400:
        raise FailedError("its newest record is %d days old" % ((taken - newest) // 86400))


def drill(wanted: Wanted, record: Record, number: int, recent_days: int) -> None:
    """Restore and prove one copy, and record it; raise FailedError if it is not good."""
    began = time.monotonic()
    folder = "%s/%s/%s" % (SCRATCH, wanted["node"], wanted["job"])
    password, address = secrets()[wanted["node"], number]
    os.makedirs(SCRATCH, mode=0o700, exist_ok=True)
    os.makedirs(folder, mode=0o700)
    require_answer(address)
    repository = Repository(wanted["node"], password, address)
    snapshot = repository.newest(wanted["node"], wanted["job"])
    taken = restic.seconds_of(snapshot["time"])
    if restic.why_not_prune(taken, time.time()) == restic.TO_COME:
        raise FailedError(restic.TO_COME)
    require_room(snapshot)
    repository.restore(snapshot["id"], folder)
    said = prove(wanted, folder)
    require_sense(record, wanted, said, taken, recent_days)
    rows = said.get("rows", {})
    record["copies"][str(number)] = {
        "store": wanted["stores"][number - 1],
        "at": int(time.time()),
        "seconds": round(time.monotonic() - began, 1),
        "age_seconds": int(time.time() - taken),
        "count": sum(rows.values()),
        "snapshot": snapshot["id"],
    }
    record.update(error="", evidence=said["evidence"], rows=rows, newest=said.get("newest"))


def attempt(wanted: Wanted, record: Record, number: int, recent_days: int) -> bool:
    """Drill one copy and leave nothing of it; return whether it is good."""
    named = "%s of %s from %s" % (wanted["job"], wanted["node"], wanted["stores"][number - 1])
    record.update(tried_at=int(time.time()), copy=number, error="it was ended half-way")
    try:
        drill(wanted, record, number, recent_days)
        took = record["copies"][str(number)]["seconds"]
        print("%s: %s, %.0f s" % (named, record["evidence"], took), flush=True)
    except (FailedError, OSError, ValueError, KeyError) as error:
        record["error"] = tools.said_by(error)
    finally:
        clean()
    if record["error"]:
        print("%s: FAILED: %s" % (named, record["error"]), file=sys.stderr, flush=True)
    return not record["error"]


# --- what must not stay ---


def clean() -> None:
    """Remove containers and files of drills, also of one that was killed."""
    found = tools.ask(["docker", "ps", "--all", "--quiet", "--filter", "label=" + LABEL]).out.split()
    if found:
        tools.ask(["docker", "rm", "--force", "--volumes", *found])
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(SCRATCH)


# --- commands ---


def run_all(recent_days: int, copy: int) -> int:
    """Drill every job; return 1 if one copy is not good. `copy`: 1, 2 or 0 for the one whose turn it is."""
    wanted = load(DRILLS, [])
    records = records_of(wanted, load(STATE, {}).get("drills", []))
    clean()
    today, good = datetime.date.today(), True
    for one, record in zip(wanted, records):
        try:
            good = attempt(one, record, copy_of(one, copy, today), recent_days) and good
        finally:
            keep(records)
    return int(not good)


def accept(node: str, job: str) -> int:
    """Forget how many rows a job had: the next drill takes those it finds."""
    records = load(STATE, {}).get("drills", [])
    found = [one for one in records if (one["node"], one["job"]) == (node, job)]
    if not found:
        names = ", ".join("%s %s" % (one["node"], one["job"]) for one in records)
        print("no drill of %s %s: must be one of %s" % (node, job, names or "none"), file=sys.stderr)
        return 1
    found[0].pop("rows", None)
    keep(records)
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Do what the command line says."""
    parser, commands = commands_of(__doc__)
    running = commands.add_parser("run", help="restore and prove all jobs")
    running.add_argument("--recent-days", type=int, default=0, help="age from which a newest record fails")
    running.add_argument("--copy", type=int, choices=(1, 2), default=0, help="else they take turns")
    commands.add_parser("clean", help="remove what a drill left that was killed")
    accepting = commands.add_parser("accept", help="a job lost rows, and that is intended")
    accepting.add_argument("node")
    accepting.add_argument("job")
    options = parser.parse_args(arguments)
    try:
        with only_one(options.command, LOCK):
            if options.command == "run":
                signal.signal(signal.SIGTERM, end)
                return run_all(options.recent_days, options.copy)
            if options.command == "accept":
                return accept(options.node, options.job)
            clean()
            return 0
    except BusyError as busy:
        print("a drill runs already: journalctl -u aicluster-drill --follow", file=sys.stderr)
        return 0 if options.command == "clean" else busy.status


if __name__ == "__main__":
    sys.exit(main())
