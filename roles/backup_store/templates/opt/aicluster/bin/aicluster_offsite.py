#!/usr/bin/env python3
"""Copies the newest snapshots of all nodes and of the site to a repository outside this place, and prunes it.

usage: aicluster_offsite.py OPTION ...

The options are those of `restic forget` that say which snapshots stay. Each source has a repository of its
own below the address, with the password it has here. Exit codes: 0 all are there, 1 one is not.
"""

import json
import os
import sys
import time
from typing import Any, Dict, List, Mapping, Sequence

import aicluster_textfile
from aicluster_backup_restic import EMPTY, LOCK_LIMIT, TO_COME, off_site, output, seconds_of, why_not_prune
from aicluster_backup_tools import FailedError, ask, load, require_answer, save
from aicluster_verify import ROOT

# {repository, environment, kib_s, sources: name -> [password, where it is for restic here]}
PLAN = ROOT + "/backup_store/secrets/offsite"
# name -> {newest (time of the newest snapshot that is off site, if there is one), error, failed (0 or 1)}
STATE = "/var/lib/aicluster/offsite.json"
NO_REPOSITORY = 10
METRICS = {
    "backup_offsite_newest_snapshot_timestamp_seconds": (
        "newest", "Time of its newest snapshot that is off site.",
    ),
    "backup_offsite_last_exit_code": ("failed", "0 if the last try to copy it off site succeeded, else 1."),
}  # fmt: skip


def command(environment: Mapping[str, str], *arguments: str) -> List[str]:
    """Return the command line of restic."""
    return [*off_site([*environment]), "--retry-lock", LOCK_LIMIT, *arguments]


def restic(environment: Mapping[str, str], *arguments: str) -> str:
    """Return what restic prints; secrets are in the environment and in no argument."""
    return output(command(environment, *arguments), arguments[0], environment)


def newest_of_each_job(here: Mapping[str, str]) -> List[Dict[str, Any]]:
    """Return the newest snapshots of a source."""
    found = json.loads(restic(here, "snapshots", "--json", "--no-lock") or "[]")
    found.sort(key=lambda one: seconds_of(one["time"]))
    return list({tuple(one.get("tags") or ()): one for one in found}.values())


def copy(there: Mapping[str, str], snapshots: Sequence[str], forget: Sequence[str], kib_s: int) -> None:
    """Copy snapshots; unless that fails, check the repository there and remove old ones from it."""
    limit = ["--limit-upload=%d" % kib_s] if kib_s else []
    argv = command(there, "cat", "config")
    if ask(argv, env=dict(os.environ, **there)).code == NO_REPOSITORY:
        restic(there, "init", "--copy-chunker-params")
    # Locks of a copy that ended without it; nobody else removes anything there.
    restic(there, "unlock")
    restic(there, "copy", *limit, *snapshots)
    restic(there, "check", "--with-cache")
    if forget:
        # By tag, which is the job, as the store does it.
        restic(there, "forget", "--group-by", "host,tags", *forget, "--prune", *limit)


def send(plan: Mapping[str, Any], name: str, keep: Sequence[str], known: Mapping[str, Any]) -> Dict[str, Any]:
    """Copy one source off site; return what is known of it now. A failure leaves the time as it was."""
    password, source = plan["sources"][name]
    place = "%s/%s" % (plan["repository"].rstrip("/"), name)
    here = {"RESTIC_REPOSITORY": source, "RESTIC_PASSWORD": password}
    there = {
        "RESTIC_REPOSITORY": place, "RESTIC_PASSWORD": password,
        "RESTIC_FROM_REPOSITORY": source, "RESTIC_FROM_PASSWORD": password, **plan["environment"],
    }  # fmt: skip
    found = dict(known, error="", failed=0)
    try:
        for address in (source, place):
            require_answer(address)
        snapshots = newest_of_each_job(here)
        newest = max((seconds_of(one["time"]) for one in snapshots), default=None)
        reason = why_not_prune(newest, time.time())
        if reason in (EMPTY, TO_COME):
            raise FailedError(reason)
        copy(there, [one["id"] for one in snapshots], [] if reason else keep, plan["kib_s"])
        found["newest"] = newest
        why = reason and "; nothing is removed, since " + reason
        print("%s: %d jobs are off site%s" % (name, len(snapshots), why))
    except (FailedError, OSError) as error:
        found.update(error=str(error), failed=1)
        print("%s: %s" % (name, error), file=sys.stderr, flush=True)
    return found


def main(keep: Sequence[str]) -> int:
    """Copy every source, whatever comes of the others; return 1 if one could not be copied."""
    with open(PLAN) as handle:
        plan = json.load(handle)
    before = load(STATE, {})
    state = {name: before.get(name, {}) for name in plan["sources"]}
    for name, known in state.items():
        state[name] = send(plan, name, keep, known)
        save(STATE, state)
        records = [({"repository": one}, state[one]) for one in sorted(state)]
        aicluster_textfile.publish("aicluster_offsite", METRICS, records)
    return int(any(known["error"] for known in state.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
