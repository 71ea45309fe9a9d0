"""Backups of the running site as tests see them."""

import json
import subprocess
import sys
from typing import Any

import site_under_test as site
from tree import ROOT

AGENT = "/opt/aicluster/bin/aicluster_backup.py"
DRILL = "/opt/aicluster/bin/aicluster_drill.py"
RESTIC = "docker exec backup restic --repository-file /run/secrets/backup/store_{}"


def backed_up() -> list[site.Node]:
    return site.running("backup")


def first_store() -> site.Node:
    """The store of most first copies, which restores them to prove them."""
    return max(site.running("backup_store"), key=lambda node: node.services["backup_store"]["disk_gb"])


def copies(node: site.Node) -> dict[tuple[str, str], Any]:
    told = json.loads(site.shell(node, f"{AGENT} status"))
    return {(one["job"], one["store"]): one for one in told["copies"]}


def restic(node: site.Node, command: str, store: int = 1) -> str:
    """What a command of restic prints with the credentials of a node."""
    return site.shell(node, f"{RESTIC.format(store)} {command}")


def snapshots(node: site.Node) -> list[Any]:
    return [one for store in (1, 2) for one in json.loads(restic(node, "snapshots --json --no-lock", store))]


def by_hand() -> tuple[int, dict[str, Any]]:
    ran = subprocess.run(
        ["bin/backup", "--json", *site.inventory_arguments()],
        cwd=ROOT,
        env=site.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    sys.stdout.write(ran.stderr)
    return ran.returncode, json.loads(ran.stdout)
