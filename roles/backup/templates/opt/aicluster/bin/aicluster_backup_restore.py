#!/usr/bin/env python3
"""Brings back what the backups of this node hold.

`list` says what there is, `plan` what would change, `apply` changes it. Both take a job, a service, or `all`.
Exit codes: 0 done, 1 failed, 2 refused before anything was changed, 75 refused because a run is under way.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import aicluster_backup_job as job_work
import aicluster_backup_part as work
import aicluster_backup_record as record
import aicluster_backup_tools as tools
from aicluster_backup_choice import SHORT, Part, Source, parts_of, require_paths
from aicluster_backup_part import Change
from aicluster_backup_restic import seconds_of
from aicluster_backup_tools import FailedError, RefusedError, nearest, say

# The node itself: its files are laid beside, never over those it runs with.
ITSELF = "backup"
OFF_SITE = "the off-site repository"
# Snapshots of a copy that are listed; the name of an older one is as good.
SHOWN = 5


# A snapshot, and what of it is brought back.
Chosen = Tuple[Source, List[Part]]


# --- what there is ---


def snapshots(number: int) -> List[Dict[str, Any]]:
    """Return the snapshots in the store of this number, the newest first; raises FailedError."""
    if number and not os.path.isfile("%s/store_%d" % (job_work.SECRETS, number)):
        raise FailedError("%s/store_%d is missing: run site.yml" % (job_work.SECRETS, number))
    job_work.require_store(number)
    answer = job_work.restic("snapshots", number)
    if answer.code:
        raise FailedError(answer.complaint(), answer.code)
    found, now = json.loads(answer.out) or [], time.time() + tools.CLOCKS_DIFFER_S
    # One of a clock that was ahead is not the newest.
    return sorted(found, key=lambda one: (seconds_of(one["time"]) <= now, one["time"]), reverse=True)


def number_of(copy: str) -> int:
    """Return the number of a copy, 0 for the one off site; raise ValueError for what is neither."""
    return job_work.OFFSITE if copy == "offsite" else int(copy)


def store_of(plan: Mapping[str, Any], number: int) -> str:
    """Return the name of the store of a copy; raise RefusedError where there is none."""
    if number == job_work.OFFSITE:
        if not job_work.offsite:
            raise RefusedError(
                "the off-site repository is named by playbooks/restore.yml alone: -e copy=offsite"
            )
        return OFF_SITE
    if not 1 <= number <= len(plan["stores"]):
        words = ", ".join(str(one) for one, _ in enumerate(plan["stores"], 1))
        raise RefusedError("there is no copy %d: write one of %s" % (number, words or "(no store)"))
    return str(plan["stores"][number - 1])


def moment(snapshot: Mapping[str, Any]) -> str:
    """Return when a snapshot was made, for people; restic's container has no time zone."""
    return "%s UTC" % snapshot["time"][:16].replace("T", " ")


def described(snapshot: Mapping[str, Any]) -> str:
    """Return what people choose a snapshot by."""
    size = snapshot.get("summary", {}).get("total_bytes_processed")
    return "    %s of %s%s%s" % (
        snapshot["id"][:SHORT], moment(snapshot),
        "" if size is None else ", " + tools.megabytes(size),
        ", before a change" if job_work.BEFORE in (snapshot["tags"] or ()) else "",
    )  # fmt: skip


def listing(plan: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about every copy: its newest snapshots, or what is wrong with its store."""
    handed = [(job_work.OFFSITE, OFF_SITE)] if job_work.offsite else []
    stores = [*enumerate(plan["stores"], 1), *handed]
    found, errors = {}, {}  # type: Dict[int, List[Dict[str, Any]]], Dict[int, FailedError]
    for number, _ in stores:
        try:
            found[number] = snapshots(number)
        except FailedError as error:
            errors[number] = error
    for job in plan["jobs"]:
        for number, store in [one for one in stores if one[0] <= job["copies"]]:
            own = [one for one in found.get(number, ()) if job["name"] in (one["tags"] or ())]
            said = errors.get(number, "%d snapshots" % len(own))
            yield "%s, copy %s on %s: %s" % (job["name"], number or "offsite", store, said)
            yield from map(described, own[:SHOWN])


# --- what is meant ---


def jobs_meant(plan: Mapping[str, Any], word: str) -> List[Mapping[str, Any]]:
    """Return the jobs that a word names: a job, a service, or `all`, which is all but the node itself."""
    jobs = {job["name"]: job for job in plan["jobs"]}
    meant = [name for name in jobs if word in (name, job_work.service_of(name))]
    if word == "all":
        meant = [name for name in jobs if name != ITSELF]
    if not meant:
        raise RefusedError("%s keeps nothing of %s: %s" % (plan["node"], word, nearest(word, list(jobs))))
    return [jobs[name] for name in meant]


def chosen(plan: Mapping[str, Any], options: argparse.Namespace) -> List[Chosen]:
    """Return what the command line means; raises RefusedError for what there is not."""
    store = store_of(plan, options.copy)
    meant = jobs_meant(plan, options.job)
    jobs = [job for job in meant if options.copy <= job["copies"]]
    for name in (one["name"] for one in meant if one not in jobs):
        say("%s has no copy %d, and stays as it is" % (name, options.copy))
    if not jobs:
        raise RefusedError("%s has no copy %d: leave out --copy" % (options.job, options.copy))
    try:
        there = snapshots(options.copy)
    except FailedError as error:
        others = [str(number) for number, _ in enumerate(plan["stores"], 1) if number != options.copy]
        other = "; another copy: --copy %s" % others[0] if others else ""
        raise RefusedError("copy %d on %s: %s%s" % (options.copy, store, error, other))
    found, known = [], []  # type: List[Chosen], List[str]
    for job in jobs:
        own = [one for one in there if job["name"] in (one["tags"] or ())]
        known += [one["id"][:SHORT] for one in own]
        own = [one for one in own if one["id"].startswith(options.snapshot)]
        if own:
            parts = parts_of(job, own[0], options)
            source = Source(job["name"], options.copy, store, own[0]["id"], own[0]["time"])
            found += [(source, parts)] if parts else []
        elif not options.snapshot:
            raise RefusedError("%s has no snapshot of %s (copy %d)" % (store, job["name"], options.copy))
    if options.snapshot and not found and known:
        fix = nearest(options.snapshot, known)
        raise RefusedError("%s has no snapshot %s: %s" % (store, options.snapshot, fix))
    if not found:
        raise RefusedError("nothing of %s can be restored that way" % options.job)
    for source, parts in found:
        require_paths(source, parts)
    return found


# --- plan and apply ---


def foretell(source: Source, parts: Sequence[Part]) -> List[Tuple[Part, Change]]:
    """Say what each part of a job would change; return it."""
    changes = []
    for part in parts:
        change = work.foreseen(source, part)
        changes.append((part, change))
        said = "%s from %s of %s on %s: %d files (%s) " % (
            work.named(source, part), source.snapshot[:SHORT], source.taken[:16], source.store,
            change["files"], tools.megabytes(change["bytes"]),
        )  # fmt: skip
        # What a dump replaces its service knows.
        said += "to take back" if change["says"] else "to write, %d to delete" % change["deleted"]
        stops = ["stops %s meanwhile" % ", ".join(change["stops"])] if change["stops"] else []
        say("\n  ".join([said, *stops, *(change["says"] or change["examples"])]))
    return changes


@contextlib.contextmanager
def recorded(folder: str, by: str, meant: Sequence[Chosen]) -> Iterator[Dict[str, Any]]:
    """Leave a record of a restore in its folder, whatever comes of it."""
    words = [
        {"job": source.job, "copy": source.number, "store": source.store, "snapshot": source.snapshot,
         "what": [part.name for part in parts]}
        for source, parts in meant
    ]  # fmt: skip
    kept = {"by": by, "began": int(time.time()), "jobs": words, "error": "was interrupted"}  # type: Dict[str, Any]
    try:
        yield kept
        kept["error"] = ""
    except Exception as error:
        kept["error"] = "%s" % error
        raise
    finally:
        kept["ended"] = int(time.time())
        tools.save(folder + "/record.json", kept)


def apply(plan: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Bring back what is meant; raises RefusedError before, FailedError after the first change."""
    with record.only_one("restore of %s by %s" % (options.job, options.by)):
        work.end_leftovers()
        meant = chosen(plan, options)
        changes = [change for source, parts in meant for change in foretell(source, parts)]
        work.require_room(changes, options.safety)
        folder = tempfile.mkdtemp(prefix=time.strftime("%Y-%m-%dT%H%M%S-"), dir=work.ROOT)
        began = time.monotonic()
        with recorded(folder, options.by, meant) as kept:
            try:
                for source, parts in meant:
                    work.bring_back(source, parts, folder, options)
            finally:
                work.end_leftovers()
            kept["seconds"] = round(time.monotonic() - began, 1)
        say("restored in %.0f s; record: %s/record.json" % (kept["seconds"], folder))


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Do what the command line says."""
    parser, commands = tools.commands_of(__doc__)
    commands.add_parser("list", help="print what can be restored")
    for name, what in (("plan", "say what would change"), ("apply", "restore")):
        doing = commands.add_parser(name, help=what)
        doing.add_argument("job", metavar="JOB", help="a job, a service, or all")
        doing.add_argument("--snapshot", default="", metavar="ID", help="the newest unless named")
        doing.add_argument("--copy", type=number_of, default=1, metavar="N", help="1, 2 or offsite")
        narrow = doing.add_mutually_exclusive_group()
        narrow.add_argument(
            "--database", action="append", default=[], metavar="NAME", help="no other database"
        )
        narrow.add_argument("--bucket", default="", metavar="NAME", help="no other bucket")
        narrow.add_argument("--path", default="", help="no other file or folder, as /volumes/VOLUME/NAME")
        doing.add_argument(
            "--no-safety-copy", dest="safety", action="store_false", help="keep no copy of what is there"
        )
        doing.add_argument("--by", default="a person", help="who wants it, for the record")
    return tools.status_of(obey, parser.parse_args(arguments))


def obey(options: argparse.Namespace) -> int:
    """Do what the command line says; raise RefusedError before, FailedError after the first change."""
    plan = record.plan()
    job_work.take_handed()
    if options.command == "list":
        print("\n".join(listing(plan)))
        return 0
    if options.command == "plan":
        for source, parts in chosen(plan, options):
            foretell(source, parts)
        return 0
    signal.signal(signal.SIGTERM, tools.end)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    apply(plan, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
