#!/usr/bin/env python3
"""Sends encrypted copies of what this node keeps to other nodes.

Exit codes: 0 all copies were made, 1 one was not, 75 refused because another run is under way.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence

import aicluster_backup_job as work
import aicluster_backup_record as record
import aicluster_backup_tools as tools
from aicluster_backup_choice import restorer_of
from aicluster_backup_tools import BusyError, FailedError, ask, end, nearest, status_of

UNIT = "aicluster-backup.service"
# Who started the unit: its command line is always the same.
BY = "/run/aicluster/backup-by"
OVERDUE_S = 20 * 3600
PAUSE_S = 0.5


# --- run ---


def prepared(job: work.Job) -> Optional[Exception]:
    """Write what a job copies; return why that failed."""
    try:
        work.prepare(job)
        work.require_sources(job)
    except Exception as error:  # whatever stops a job, the next one is tried
        return error
    return None


def outcome(
    job: work.Job, node: str, number: int, problem: Optional[Exception], tags: Sequence[str] = ()
) -> record.Record:
    """Make one copy; return what is new in its record. `problem`: why there is nothing to copy."""
    tried_at = int(time.time())
    try:
        if problem:
            raise problem
        made = work.send(job, node, number, tags)
    except Exception as error:  # whatever stops a copy, the next one is tried
        code = getattr(error, "exit_code", 1)
        return {"tried_at": tried_at, "exit_code": code, "error": tools.said_by(error)}
    return {"tried_at": tried_at, "exit_code": 0, "error": "", "success_at": int(time.time()), **made}


def back_up(job: work.Job, plan: Mapping[str, Any], records: List[record.Record], tell: record.Tell) -> bool:
    """Make the copies of one job, and keep what came of each; return whether all succeeded."""
    own = [one for one in records if one["job"] == job["name"]]
    began = time.monotonic()
    problem = prepared(job)
    before, good = time.monotonic() - began, True
    for one in own:
        tell("start", one)
        began = time.monotonic()
        news = outcome(job, plan["node"], one["copy"], problem)
        took = time.monotonic() - began + before
        if not news["exit_code"]:
            news["seconds"] = round(took, 1)
        one.update(news)
        try:
            record.keep(plan["node"], records)
        except OSError as error:
            if not one["exit_code"]:
                one.update(exit_code=1, error="made, but its record cannot be written: %s" % error)
        tell("failed" if one["exit_code"] else "done", one, took)
        good = good and not one["exit_code"]
    return good


def run(by: str) -> int:
    """Make all copies; return 1 when one was not made."""
    with record.only_one(by):
        plan = record.plan()
        tell, records = record.begin_progress(), record.copies(plan)
        if plan["jobs"] and not plan["stores"]:
            print("no other node runs backup_store: nothing is copied", file=sys.stderr)
            return 1
        work.end_leftovers()
        try:
            good = [back_up(job, plan, records, tell) for job in plan["jobs"]]
            return int(not all(good))
        finally:
            # Of a run that is ended from outside.
            work.end_leftovers()


# --- before a service changes ---


def snapshot_of(job: work.Job, plan: Mapping[str, Any]) -> Dict[str, Any]:
    """Make one snapshot of a job in the first store that takes it, and tell of each try; return where it is.

    `live` in it: its data come back while the service runs, by a program of the service.
    """
    problem, why = prepared(job), "no other node runs backup_store"
    for number, store in enumerate(plan["stores"][: job["copies"]], 1):
        one = {"job": job["name"], "copy": number, "store": store}  # type: record.Record
        began = time.monotonic()
        news = outcome(job, plan["node"], number, problem, [work.BEFORE])
        done, why = not news["exit_code"], news["error"]
        event = record.event_of("done" if done else "failed", {**one, **news}, time.monotonic() - began)
        print(json.dumps(event), flush=True)
        if done:
            return dict(one, snapshot=news["snapshot"], live=any(map(restorer_of, job["dumps"])))
    raise FailedError("%s: %s" % (job["name"], why))


def before(service: str, by: str) -> int:
    """Make one snapshot of each job of a service, and print where they are. They count as no copy."""
    with record.only_one("%s, before a change of %s" % (by, service)):
        plan = record.plan()
        names = [work.service_of(job["name"]) for job in plan["jobs"]]
        if service not in names:
            raise FailedError(
                "%s copies nothing of %s: %s" % (plan["node"], service, nearest(service, names))
            )
        work.end_leftovers()
        try:
            made = [snapshot_of(job, plan) for name, job in zip(names, plan["jobs"]) if name == service]
        finally:
            work.end_leftovers()
    print(json.dumps({"event": "end", "made": made}), flush=True)
    return 0


# --- the unit ---


def started_by(by: str) -> str:
    """Return who started this run, as the program that started its unit noted."""
    if by:
        return by
    noted = "systemctl"
    with contextlib.suppress(FileNotFoundError):
        with open(BY) as handle:
            noted = handle.read().strip()
        os.remove(BY)
    return noted


def note(by: str) -> None:
    """Leave the run that is about to start a note of who wants it."""
    os.makedirs(os.path.dirname(BY), mode=0o755, exist_ok=True)
    with open(BY, "w") as handle:
        handle.write(by + "\n")


def lines_of(running: Callable[[], bool]) -> Iterator[str]:
    """Yield the lines of the progress as they come, until nothing runs and all are read."""
    handle, rest = None, ""
    while True:
        last = not running()
        if handle is None:
            with contextlib.suppress(FileNotFoundError):
                handle = open(record.PROGRESS)
        if handle is not None:
            *whole, rest = (rest + handle.read()).split("\n")
            yield from whole
        if last:
            break
        time.sleep(PAUSE_S)
    if handle is not None:
        handle.close()


def failures(lines: Sequence[str], result: str) -> List[Dict[str, str]]:
    """Return {job, store, message} of every copy of a run that was not made."""
    latest = {}  # type: Dict[Any, Dict[str, Any]]
    for event in map(json.loads, lines):
        latest[event["job"], event["store"]] = event
    ended = "the run ended before it (%s)" % result
    return [
        {"job": one["job"], "store": one["store"], "message": one["message"] or ended}
        for one in latest.values()
        if one["event"] != "done"
    ]


def follow(by: str, start: bool) -> int:
    """Print the progress of a run, which is started first where that is wanted; return its exit code."""
    with contextlib.ExitStack() as stack:
        if start:
            # Two who start at once: systemd would take the second for the first.
            stack.enter_context(record.only_one(by, record.LOCK + "-start"))
            held = record.holder()
            if held is not None:
                raise BusyError(record.refusal(held))
            note(by)
            with contextlib.suppress(FileNotFoundError):
                os.remove(record.PROGRESS)
            start_unit = ["systemctl", "start", UNIT]
            starter = subprocess.Popen(start_unit, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        lines = []
        for line in lines_of(lambda: starter.poll() is None if start else record.holder() is not None):
            lines.append(line)
            print(line, flush=True)
    shown = ask(["systemctl", "show", "--property", "Result,ExecMainStatus", UNIT]).out.splitlines()
    said = dict(line.split("=", 1) for line in shown if "=" in line)
    good = said.get("Result") == "success"
    print(json.dumps({"event": "end", "failed": failures(lines, said.get("Result", "unknown"))}), flush=True)
    return 0 if good else int(said.get("ExecMainStatus", 0)) or 1


def fallback() -> int:
    """Start a run where the last good one is too old, as when the control node was off."""
    now = time.time()
    old = (record.why_old(one, now, OVERDUE_S) for one in record.copies(record.plan()))
    reason = next(filter(None, old), "")
    held = record.holder()
    if held is not None or not reason:
        print(record.refusal(held) if held is not None else "nothing is overdue", flush=True)
        return 0
    print(reason, flush=True)
    note("the fallback timer")
    return subprocess.call(["systemctl", "start", "--no-block", UNIT])


def status() -> int:
    """Print the state of all copies and who runs a backup now, as JSON."""
    plan = record.plan()
    told = {"node": plan["node"], "running": record.holder(), "copies": record.copies(plan)}
    print(json.dumps(told, indent=1, sort_keys=True))
    return 0


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Do what the command line says."""
    parser, commands = tools.commands_of(__doc__)
    running = commands.add_parser("run", help="make all copies")
    following = commands.add_parser("follow", help="print the progress of the unit's run, and its result")
    following.add_argument("--start", action="store_true", help="start the unit first")
    changing = commands.add_parser("before", help="make one snapshot of a service that is about to change")
    changing.add_argument("service")
    for one in (running, following, changing):
        one.add_argument("--by", default="", help="who wants it, for the others")
    commands.add_parser("status", help="print the state of all copies as JSON")
    commands.add_parser("fallback", help="start the unit if a copy is missing, or older than 20 hours")
    options = parser.parse_args(arguments)
    if options.command in ("run", "before"):
        signal.signal(signal.SIGTERM, end)
        options.by = started_by(options.by)
        if options.command == "run":
            return status_of(run, options.by)
        return status_of(before, options.service, options.by)
    if options.command == "follow":
        return status_of(follow, options.by or "a person", options.start)
    return status_of(status if options.command == "status" else fallback)


if __name__ == "__main__":
    sys.exit(main())
