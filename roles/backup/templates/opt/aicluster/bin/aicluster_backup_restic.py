"""How programs run restic: in the container of backups, or in one of its image for a moment.

Secrets are variables that are passed by name, because every process of the node sees arguments.
"""

import calendar
import json
import os
import re
import sys
import time
from typing import Any, List, Mapping, Optional, Sequence

from aicluster_backup_tools import CLOCKS_DIFFER_S, FailedError, ask, docker

CONTAINER = "backup"
# How long those who look after a repository wait for a backup, a check, a pruning or a restore.
LOCK_LIMIT = "2h"
# Variables of the container of backups that say how much restic takes, and where.
SIZES = ("GOMEMLIMIT=", "RESTIC_CACHE_DIR=", "TMPDIR=")
# Options that let a container write files with the owners they had, and nothing else.
MAY_RESTORE = [word for name in ("CHOWN", "FOWNER", "DAC_OVERRIDE") for word in ("--cap-add", name)]
SAID_AT_MOST = 300
# If the newest snapshot is older, no backup runs any more.
FRESH_S = 26 * 3600
EMPTY = "it has no snapshot"
TO_COME = "its newest snapshot is of a time to come: correct the wrong clock, then forget that snapshot"


def by_name(names: Sequence[str]) -> List[str]:
    """Return the options of docker that pass variables of this process."""
    return [word for name in sorted(names) for word in ("--env", name)]


def inside(
    environment: Mapping[str, str],
    arguments: Sequence[str],
    options: Sequence[str] = (),
    docker_options: Sequence[str] = (),
) -> List[str]:
    """Return what runs restic in the container of backups, with variables of this process."""
    # The container has the file of its own node's password, which restic would prefer.
    secret = [*by_name([*environment]), "--env", "RESTIC_PASSWORD_FILE="]
    argv = ["docker", "exec", *docker_options, *secret, CONTAINER, "restic", *options]
    return [*argv, "--retry-lock", LOCK_LIMIT, *arguments]


def beside(like: Sequence[str], options: Sequence[str]) -> List[str]:
    """Return what runs restic in a container of its own, which writes nothing but what its options allow.

    Image, memory and the variables that begin like these are those of the container of backups.
    """
    [known] = json.loads(docker("inspect", CONTAINER))
    memory = str(known["HostConfig"]["Memory"])
    same = [word for one in known["Config"]["Env"] if one.startswith(tuple(like)) for word in ("--env", one)]
    return [
        "docker", "run", "--rm", "--pull=never", "--read-only", "--cap-drop", "ALL",
        "--security-opt", "no-new-privileges", "--log-driver=none",
        "--memory", memory, "--memory-swap", memory, *same, *options,
        "--entrypoint", "restic", known["Image"],
    ]  # fmt: skip


def off_site(names: Sequence[str], like: Sequence[str] = SIZES) -> List[str]:
    """Return what runs restic with variables of this process, and the mounts of the container of backups.

    It is in the network of the node: the firewall lets that container reach the stores only.
    """
    options = ["--network=host", "--user=0:0", "--cap-add=DAC_READ_SEARCH", "--volumes-from=" + CONTAINER]
    return beside(like, [*options, *by_name(names)])


def output(argv: Sequence[str], verb: str, environment: Mapping[str, str], **keys: Any) -> str:
    """Return what restic prints; raise FailedError with how its complaint begins, and log all of it."""
    answer = ask(argv, env=dict(os.environ, **environment), **keys)
    if answer.code:
        said = (answer.error or answer.out).strip()
        print(said, file=sys.stderr, flush=True)
        raise FailedError("restic %s: rc %d: %s" % (verb, answer.code, " ".join(said.split())[:SAID_AT_MOST]))
    return answer.out


def seconds_of(moment: str) -> float:
    """Return seconds since 1970 of a time as restic writes it, `2026-08-17T02:00:00.123456789+02:00`."""
    found = re.match(r"(\d+-\d+-\d+T\d+:\d+:\d+)(\.\d+)?(?:Z|([+-])(\d+):(\d+))$", moment)
    if not found:
        raise FailedError("restic snapshots: %r is no time" % moment)
    clock, fraction, sign, hours, minutes = found.groups()
    offset = (int(hours) * 60 + int(minutes)) * 60 if sign else 0
    utc = calendar.timegm(time.strptime(clock, "%Y-%m-%dT%H:%M:%S")) + float(fraction or 0)
    return utc + offset if sign == "-" else utc - offset


def why_not_prune(newest: Optional[float], now: float) -> str:
    """Return why old snapshots have to stay, from the time of the newest; "" if they may go."""
    if newest is None:
        return EMPTY
    if newest > now + CLOCKS_DIFFER_S:
        return TO_COME
    if newest < now - FRESH_S:
        return "its newest snapshot is %d hours old" % ((now - newest) / 3600)
    return ""
