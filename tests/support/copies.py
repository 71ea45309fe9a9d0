"""Backups of the running site as tests see them."""

import json
import sys
from typing import Any

import site_under_test as site

AGENT = "/opt/aicluster/bin/aicluster_backup.py"
DRILL = "/opt/aicluster/bin/aicluster_drill.py"
RESTIC = "docker exec backup restic --repository-file /run/secrets/backup/store_{}"
# The primary of the database, and what copies it.
DATA, *STANDBYS = site.running("postgres")
[CONTROL] = site.running("control_node")
# The store of most first copies, which restores them to prove them.
FIRST = max(site.running("backup_store"), key=lambda node: node.services["backup_store"]["disk_gb"])


def backed_up() -> list[site.Node]:
    return site.running("backup")


def copies(node: site.Node) -> dict[tuple[str, str], Any]:
    """What a node remembers of each copy, by job and store."""
    return {(one["job"], one["store"]): one for one in site.told(node, f"{AGENT} status")["copies"]}


def snapshots(node: site.Node) -> list[Any]:
    """What both stores have of a node, by its own credentials."""
    listing = [f"{RESTIC.format(store)} snapshots --json --no-lock" for store in (1, 2)]
    return [one for command in listing for one in site.told(node, command)]


def back_up() -> dict[str, Any]:
    """The report of `bin/backup`, which succeeds."""
    ran = site.program("backup")
    sys.stdout.write(ran.stderr)
    assert ran.returncode == 0, ran.stdout
    return dict(json.loads(ran.stdout))


def unit(node: site.Node, name: str) -> str:
    """Run a unit of a node to its end; its result."""
    show = f"systemctl show --value --property Result {name}"
    return site.shell(node, f"systemctl start {name}; {show}").strip()
