"""Every copy of this node was made in the last night; one that was never made is a warning."""

import json
import time
from typing import Any, Dict, List, Mapping, Tuple, Union

from aicluster_backup_record import why_old
from aicluster_verify import CheckError, Kit

PROGRAM = "/opt/aicluster/bin/aicluster_backup.py"
OLD_S = 26 * 3600
AGAIN = "sudo systemctl start aicluster-backup"


def check(kit: Kit) -> Union[str, Tuple[str, str]]:
    """Ask the program, which knows what there is to copy; raise CheckError for what failed or is old."""
    told = json.loads(kit.run(["python3", PROGRAM, "status"]))
    copies, now = told["copies"], time.time()
    if not copies:
        return "this node keeps nothing"
    hosts = {node["name"]: "backup_store on " + node["name"] for node in kit.cluster}
    failed = [one for one in copies if one.get("exit_code")]
    if failed:
        causes = sorted({hosts[one["store"]] for one in failed if one["store"] in hosts})
        seen = "; ".join("%s: %s" % (named(one), one["error"]) for one in failed)
        raise CheckError(seen, "sudo journalctl -u aicluster-backup -n 50", causes)
    old = [why_old(one, now, OLD_S) for one in copies if "success_at" in one]
    if any(old):
        raise CheckError("; ".join(filter(None, old)), "timedatectl; " + AGAIN)
    missing = [named(one) for one in copies if "success_at" not in one]
    seen = summary(copies, now, told["running"])
    if missing:
        listed = ", ".join(missing)
        return seen, "never backed up: %s; restore a reinstalled node first, then `%s`" % (listed, AGAIN)
    return seen


def named(one: Mapping[str, Any]) -> str:
    """Return what is copied, and where."""
    return "%s to %s" % (one["job"], one["store"])


def summary(copies: List[Dict[str, Any]], now: float, running: Any) -> str:
    """Return how many copies there are, and how old the oldest is."""
    made = [one for one in copies if "success_at" in one]
    stores = ", ".join(sorted({one["store"] for one in copies}))
    seen = "%d of %d copies in %s" % (len(made), len(copies), stores)
    if made:
        oldest = min(one["success_at"] for one in made)
        size = sum(one["size_bytes"] for one in made if one["copy"] == 1)
        seen += ", the oldest %.1f h old, %d MiB" % ((now - oldest) / 3600, size >> 20)
    return seen + (", one is being made" if running else "")
