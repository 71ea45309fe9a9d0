#!/usr/bin/env python3
"""Checks and prunes the repositories that this node stores for others, and hands out metrics of them.

usage: aicluster_backup_store.py [--router USER@ADDRESS] OPTION ...
       aicluster_backup_store.py restic NODE ...

The options are those of `restic forget` that say which snapshots stay. Before that it adds the copy of the
site, and the router's configuration, to the repository `site`.

A node adds to its repository and removes nothing, so snapshots are removed here and nowhere else. The second
form is restic with the password of a node's repository, for a person who looks at it or repairs it.
"""

import argparse
import base64
import datetime
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from typing import Any, Dict, List, Mapping, Optional, Sequence

import aicluster_textfile
from aicluster_backup_restic import TO_COME, inside, output, seconds_of, why_not_prune
from aicluster_backup_tools import FailedError, ask, load, mountpoint, nearest, run, save, size_of
from aicluster_textfile import Labelled
from aicluster_verify import ROOT

# Lines of a node and the password of its repository.
PASSWORDS = ROOT + "/backup_store/secrets/repositories"
PROGRAM = ROOT + "/bin/aicluster_backup_store.py"
# The repository of the site, and the tar.gz of inventory, variables and secrets, as base64.
SITE, ARCHIVE = "site", ROOT + "/backup_store/secrets/site"
# Made here; what it may do there is to read.
ROUTER_KEY = "/var/lib/aicluster/router_ed25519"
STATE = "/var/lib/aicluster/backup_store.json"
VOLUME = "backup_store_data"
# As many days read all data.
PARTS = 30
# What the time in a snapshot may differ from that of its file here.
TOLD_DIFFERS_S = 24 * 3600
# A backup renews its lock every five minutes. restic takes one this old for left behind.
LOCK_LIFE_S = 30 * 60
DISPUTED = (
    "snapshots %s came at another time than they tell: nothing is removed before they are, with "
    "`sudo {} restic %s forget %s`".format(PROGRAM)
)
METRICS = {
    "backup_repository_check_timestamp_seconds": (
        "checked", "When a part of the repository was last read without error.",
    ),
    "backup_repository_newest_snapshot_timestamp_seconds": ("newest", "Time of its newest snapshot."),
    "backup_repository_bytes": ("bytes", "Size of the repository on the disk."),
    "backup_store_free_bytes": ("free", "Free space on the disk of the repositories."),
    "backup_store_size_bytes": ("size", "Size of that disk."),
}  # fmt: skip
Known = Dict[str, Any]


def part_of(day: datetime.date) -> str:
    """Return the part of the data that is read on a day, as restic takes it."""
    return "%d/%d" % (day.toordinal() % PARTS + 1, PARTS)


def disputed(snapshots: Sequence[Known], folder: str) -> List[str]:
    """Return the snapshots that did not come at the time they tell.

    A node adds snapshots of any time it likes; with enough of them `forget` would drop all its real ones.
    """
    return [
        one["short_id"]
        for one in snapshots
        if abs(seconds_of(one["time"]) - os.stat("%s/%s" % (folder, one["id"])).st_mtime) > TOLD_DIFFERS_S
    ]


def remove_left_locks(folder: str, now: float) -> None:
    """Remove the locks of backups that ended without it, as by a power cut.

    `restic unlock` also removes the lock of a running backup if its node has the host name of this one.
    """
    for name in os.listdir(folder):
        lock = os.path.join(folder, name)
        try:
            if os.stat(lock).st_mtime < now - LOCK_LIFE_S:
                os.remove(lock)
        except FileNotFoundError:
            continue  # of a backup that has just ended


def command(node: str, arguments: Sequence[str], *docker: str) -> List[str]:
    """Return what runs restic on a node's repository; RESTIC_PASSWORD has the password."""
    # A repair copies damaged files into its working directory.
    docker = (*docker, "--workdir", "/cache")
    return inside({"RESTIC_PASSWORD": ""}, arguments, ["--repo", "/store/" + node, "--no-cache"], docker)


def restic(node: str, password: str, *arguments: str, **keys: Any) -> str:
    """Return what restic prints about a node's repository; `keys`: `input`, what it reads."""
    argv = command(node, arguments, *(["--interactive"] if keys else []))
    return output(argv, arguments[0], {"RESTIC_PASSWORD": password}, **keys)


def by_hand(arguments: Sequence[str]) -> int:
    """Run restic for a person; return its exit code."""
    known, node = passwords(), arguments[0] if arguments else ""
    if node not in known:
        print("no copies of %r are stored here: %s" % (node, nearest(node, list(known))), file=sys.stderr)
        return 2
    environment = dict(os.environ, RESTIC_PASSWORD=known[node])
    return subprocess.call(command(node, arguments[1:]), env=environment)


def router_settings(address: str) -> bytes:
    """Return the configuration of OpenWRT as tar.gz; raise FailedError unless all of it came."""
    halves = [ROUTER_KEY, ROUTER_KEY + ".pub"]
    if not all(os.path.exists(half) and os.path.getsize(half) for half in halves):
        # A power cut leaves empty files.
        run(["rm", "-f", *halves], "no key for the router")
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ROUTER_KEY], "no key for the router")
    options = (
        "BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=10", "ServerAliveInterval=20",
        "StrictHostKeyChecking=accept-new",
    )  # fmt: skip
    known = "UserKnownHostsFile=%s.known_hosts" % ROUTER_KEY
    with tempfile.TemporaryFile() as file:
        ssh = ["ssh", "-i", ROUTER_KEY, *("-o" + one for one in (*options, known)), address]
        answer = ask(ssh, stdout=file)
        file.seek(0)
        content = file.read()
    try:
        if not answer.code and gzip.decompress(content):
            return content
    except (OSError, EOFError, zlib.error):
        pass
    with open(ROUTER_KEY + ".pub") as public:
        line = 'command="sysupgrade -k -b -" ' + public.read().strip()
    said = answer.last_line if answer.code else "sent no whole tar.gz"
    raise FailedError(
        "router %s: %s; its /etc/dropbear/authorized_keys must have the line %s" % (address, said, line)
    )


def keep_site(password: str, root: str, router: str) -> None:
    """Add the copy of the site to its repository, and the router's configuration if one is named."""
    if os.path.isfile("%s/%s/config" % (root, SITE)):
        remove_left_locks("%s/%s/locks" % (root, SITE), time.time())
    else:
        restic(SITE, password, "init")

    def keep(tag: str, content: bytes) -> None:
        named = ("--host", SITE, "--tag", tag, "--stdin", "--stdin-filename", tag + ".tar.gz")
        restic(SITE, password, "backup", *named, input=content)

    with open(ARCHIVE, "rb") as handle:
        keep(SITE, base64.b64decode(handle.read()))
    if router:
        keep("router", router_settings(router))


def look_after(node: str, folder: str, password: str, keep: Sequence[str], known: Known) -> Known:
    """Check a repository, then remove its old snapshots; return what is known of it now.

    Known are `newest` and `checked` (times, if there is one) and `error`. After an error nothing is removed.
    """
    found = dict(known, error="")
    try:
        remove_left_locks(folder + "/locks", time.time())
        snapshots = json.loads(restic(node, password, "snapshots", "--json", "--no-lock"))
        newest = max((seconds_of(one["time"]) for one in snapshots), default=None)
        if newest is not None:
            found["newest"] = newest
        restic(node, password, "check", "--read-data-subset", part_of(datetime.date.today()))
        found["checked"] = time.time()
        strange = disputed(snapshots, folder + "/snapshots")
        if strange:
            raise FailedError(DISPUTED % (", ".join(strange), node, " ".join(strange)))
        reason = why_not_prune(newest, time.time())
        if reason == TO_COME:
            raise FailedError(reason)
        if reason:
            print("%s: sound; nothing is removed, since %s" % (node, reason), flush=True)
        else:
            # By tag, which is the job: if its paths change, those snapshots would otherwise stay for ever.
            restic(node, password, "forget", "--group-by", "host,tags", *keep, "--prune")
            print("%s: sound and pruned" % node, flush=True)
    except (FailedError, OSError) as error:
        found["error"] = str(error)
        print("%s: %s" % (node, error), file=sys.stderr, flush=True)
    return found


def repositories(root: str) -> List[str]:
    """Return the names of the repositories in a folder, also of nodes that send nothing any more."""
    return sorted(name for name in os.listdir(root) if os.path.isfile("%s/%s/config" % (root, name)))


def publish(state: Mapping[str, Known], root: str) -> None:
    """Keep what is known, and hand it out."""
    save(STATE, state)
    disk = shutil.disk_usage(root)
    found: List[Labelled] = [({}, {"free": disk.free, "size": disk.total})]
    for name in repositories(root):
        known = dict(state.get(name, {}), bytes=size_of("%s/%s" % (root, name)))
        found.append(({"repository": name}, known))
    aicluster_textfile.publish("aicluster_backup_store", METRICS, found)


def passwords() -> Dict[str, str]:
    """Return the password of each node's repository."""
    with open(PASSWORDS) as handle:
        return dict(line.split() for line in handle)


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Look after every repository; return 1 if one is damaged or out of reach."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--router", default="")
    options, keep = parser.parse_known_args(arguments)
    clients = passwords()
    before = load(STATE, {})
    root = mountpoint(VOLUME)
    problem = ""
    try:
        keep_site(clients[SITE], root, options.router)
    except (FailedError, OSError) as error:
        problem = str(error)
        print("%s: %s" % (SITE, error), file=sys.stderr, flush=True)
    there = repositories(root)
    state = {node: before.get(node, {"error": ""}) for node in clients if node in there}
    publish(state, root)
    for node, password in clients.items():
        if node in there:
            state[node] = look_after(node, "%s/%s" % (root, node), password, keep, state[node])
        else:
            print("%s: has sent nothing yet" % node, flush=True)
        if node == SITE and problem:
            state.setdefault(node, {})["error"] = problem
        publish(state, root)
    return int(any(known["error"] for known in state.values()))


if __name__ == "__main__":
    sys.exit(by_hand(sys.argv[2:]) if sys.argv[1:2] == ["restic"] else main())
