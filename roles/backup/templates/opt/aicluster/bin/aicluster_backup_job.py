"""One job of a backup: dumps and copies of databases first, then restic to one store after the other."""

import contextlib
import json
import os
import sqlite3
import time
import urllib.parse
from typing import Any, Dict, List, Mapping, Sequence

import aicluster_backup_record as record
from aicluster_backup_restic import CONTAINER, SIZES, off_site
from aicluster_backup_tools import Answer, FailedError, ask, follow, load, mountpoint, require_answer, run

SECRETS = "/opt/aicluster/backup/secrets"
IN_CONTAINER = "/run/secrets/backup"
# What opens the off-site repository, variables of restic: handed over by the machine that runs the playbook.
HANDED = "/run/aicluster/offsite.json"
OFFSITE = 0
offsite = {}  # type: Dict[str, str]
SQLITE_S = 600.0
# A store that checks or prunes a repository has it for itself.
LOCK_LIMIT = "30m"
# Who only reads waits for nobody, and reads from a store that has no room for a lock.
NO_LOCK = "--no-lock"
WRITES = ("backup", "init")
# Variables of the container of backups that one beside it has, too.
SAME = (*SIZES, "RESTIC_PASSWORD_FILE=")
# What a store with a full disk answers at once; restic would ask again for a quarter of an hour.
DISK_FULL = "507 Insufficient Storage"
# How long what an interrupted run left may take to end.
LEFTOVER_S = 15.0
# Exit codes of restic.
INCOMPLETE, NO_REPOSITORY, LOCKED = 3, 10, 11
# A service's second job, of what has fewer copies.
BULK = "_bulk"
# Tag of a snapshot of before a change: a store counts such apart from those of the nights.
BEFORE = "before"
Job = Mapping[str, Any]


def service_of(name: str) -> str:
    """Return the service whose job has this name."""
    return name[: -len(BULK)] if name.endswith(BULK) else name


# --- what is written before ---


def prepare(job: Job) -> None:
    """Dump databases and copy those of SQLite; raise FailedError, and leave what the last run wrote."""
    if not job["dumps"] and not job["sqlite"]:
        return
    folder = "%s/%s" % (record.STAGING, job["name"])
    os.makedirs(folder, mode=0o700, exist_ok=True)
    for program in job["dumps"]:
        print(run([program, folder], program), end="", flush=True)
    for volume, files in sorted(job["sqlite"].items()):
        place = mountpoint(volume)
        for file in files:
            copy_sqlite(os.path.join(place, file), os.path.join(folder, volume, file))


def copy_sqlite(source: str, target: str) -> None:
    """Copy a database that others may write to at the same time, and read the copy in full.

    Needs Python 3.7 on the node; SQLite gives files it makes beside the database the owner of the database.
    """
    if not os.path.isfile(source):
        raise FailedError("%s does not exist" % source)
    end = time.monotonic() + SQLITE_S

    def patience(_status: int, _left: int, _total: int) -> None:
        if time.monotonic() > end:
            raise FailedError("%s stays locked (waited %d s)" % (source, SQLITE_S))

    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.remove(target + ".new")
    uri = "file:%s?mode=ro" % urllib.parse.quote(source)
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as theirs:
        with contextlib.closing(sqlite3.connect(target + ".new")) as ours:
            theirs.backup(ours, progress=patience)
            # One file, whatever the mode of the original.
            ours.execute("PRAGMA journal_mode=DELETE")
            [verdict] = ours.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise FailedError("%s is damaged: %s" % (source, verdict))
    # What a restore gives back.
    state = os.stat(source)
    os.chown(target + ".new", state.st_uid, state.st_gid)
    os.chmod(target + ".new", state.st_mode & 0o7777)
    os.rename(target + ".new", target)


# --- restic ---


def require_sources(job: Job) -> None:
    """Raise FailedError for a path of the host that is missing: restic would pass it over."""
    for path in job["paths"]:
        for inside, outside in (("/host/", "/"), ("/staging/", record.STAGING + "/")):
            there = path.startswith(inside) and outside + path[len(inside) :]
            if there and not os.path.lexists(there):
                raise FailedError("%s does not exist" % there)


def take_handed() -> None:
    """Take over what this run needs for the off-site repository, and leave no file of it."""
    with contextlib.suppress(FileNotFoundError):
        offsite.update(load(HANDED, {}))
        os.remove(HANDED)
    os.environ.update(offsite)


def repository_of(number: int) -> List[str]:
    """Return the options of restic for the same."""
    return [] if number == OFFSITE else ["--repository-file=%s/store_%d" % (IN_CONTAINER, number)]


def require_store(number: int) -> None:
    """Raise FailedError where the store of this number does not answer."""
    if number == OFFSITE:
        require_answer(offsite["RESTIC_REPOSITORY"])
        return
    with open("%s/store_%d" % (SECRETS, number)) as handle:
        require_answer(handle.read().strip())


def restic(verb: str, number: int, arguments: Sequence[str] = ()) -> Answer:
    """Run restic for the repository in the store of this number."""
    client = off_site([*offsite], SAME) if number == OFFSITE else ["docker", "exec", CONTAINER, "restic"]
    command = [*client, verb, *repository_of(number)]
    if verb not in WRITES:
        return ask([*command, NO_LOCK, "--json", *arguments])
    complaints = []  # type: List[str]

    def hear(line: str) -> None:
        complaints.append(line)
        if DISK_FULL in line:
            end_leftovers()

    argv = [*command, "--retry-lock=" + LOCK_LIMIT, "--json", *arguments]
    answer = follow(argv, hear, complaints=True)
    if any(DISK_FULL in line for line in complaints):
        raise FailedError("the disk of the store is full (%s)" % DISK_FULL)
    return answer._replace(error="".join(complaints))


def attempt(number: int, arguments: Sequence[str]) -> Answer:
    """Run `restic backup`, and make the repository first if there is none."""
    answer = restic("backup", number, arguments)
    # A store that lost its power while it pruned left a lock. restic takes away what nobody renews.
    if answer.code == LOCKED and restic("unlock", number).out:
        answer = restic("backup", number, arguments)
    if answer.code != NO_REPOSITORY:
        return answer
    made = restic("init", number)
    if made.code:
        raise FailedError("no repository can be made: " + made.complaint(), made.code)
    return restic("backup", number, arguments)


def send(job: Job, node: str, number: int, tags: Sequence[str] = ()) -> Dict[str, Any]:
    """Make a snapshot in the store of this number; return {added_bytes, size_bytes, files, snapshot}."""
    require_store(number)
    options = ["--tag=" + tag for tag in (job["name"], *tags)]
    options += ["--exclude=" + path for path in job["exclude"]]
    arguments = ["--host=" + node, *options, *job["paths"]]
    answer = attempt(number, arguments)
    if answer.code == INCOMPLETE:
        # Files that vanish while they are read are rare; what cannot be read stays so.
        answer = attempt(number, arguments)
    if answer.code or answer.skipped:
        raise FailedError(answer.complaint(), answer.code or 1)
    for line in reversed(answer.out.splitlines()):
        if '"summary"' in line:
            said = json.loads(line)
            return {
                "added_bytes": said["data_added"],
                "size_bytes": said["total_bytes_processed"],
                "files": said["total_files_processed"],
                "snapshot": said["snapshot_id"],
            }
    raise FailedError("restic named no snapshot")


# --- what an interrupted run left ---


def end_leftovers() -> None:
    """End what an interrupted run left in the container: the engine does not end it with its client.

    The holder of the lock alone may do that.
    """
    ours = "restic (%s) --repository-file=%s/" % ("|".join(WRITES), IN_CONTAINER)
    end, how = time.monotonic() + LEFTOVER_S, "-TERM"
    while ask(["pkill", how, "--full", ours]).code == 0:
        if time.monotonic() >= end:
            how = "-KILL"
        time.sleep(0.2)
