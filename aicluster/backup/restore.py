# SPDX-License-Identifier: Apache-2.0
"""Which node a restore is of, what its program is told, and what people read of it."""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SiteError
from ..site.rules import suggestion
from .jobs import jobs_of
from .nightly import size
from .stores import BACKUP, Node

PROGRAM = "/opt/aicluster/bin/aicluster_backup_restore.py"
ALL = "all"
# What narrows a restore: one of them, of one service.
NARROW = ("database", "bucket", "path")
REFUSED, BUSY = 2, 75
# Snapshots of a copy that are shown; a name of an older one is as good.
SHOWN = 5


def kept_on(node: Node) -> list[str]:
    """Return the services of a node that keep something."""
    return [service for service, entry in node["services"].items() if jobs_of(service, entry)]


def named_node(nodes: Sequence[Node], name: str, what: str = "restore") -> Node:
    """Return the node with a name or address; raise SiteError with the nearest name."""
    for node in nodes:
        if name in (node["name"], node["address"], node["host"]):
            return node
    fix = suggestion(name, [node["name"] for node in nodes])
    raise SiteError(f"{what}: node {name!r}: must be a node of the site; {fix}")


def targets(nodes: Sequence[Node], hosts: Sequence[str], service: str, name: str = "") -> list[str]:
    """Return the hosts that a run is about: all that keep something for a list, else the one of a service.

    `nodes`: entries of `cluster_nodes`; `hosts`: those of the play; `name`: a node, if one is named.
    """
    meant = [named_node(nodes, name)] if name else [node for node in nodes if node["host"] in hosts]
    able = [node for node in meant if BACKUP in node["services"]]
    where = ", ".join(node["name"] for node in meant)
    if not able:
        raise SiteError(f"restore: {where}: must run the service {BACKUP}; name another node with --limit")
    if service:
        able = holding(nodes, able, service)
    if service and len(able) > 1:
        names = ", ".join(node["name"] for node in able)
        raise SiteError(
            f"restore: service {service!r} of {names}: must be of one node; add --limit or -e node="
        )
    return [node["host"] for node in able]


def holding(nodes: Sequence[Node], able: Sequence[Node], service: str) -> list[Node]:
    """Return those of the able nodes that keep a service; raise SiteError where none does."""
    found = [node for node in able if service == ALL or service in kept_on(node)]
    if not found:
        known = sorted({one for node in able for one in kept_on(node)})
        elsewhere = [node["name"] for node in nodes if service in kept_on(node)]
        fix = f"it is kept on {', '.join(elsewhere)}" if elsewhere else suggestion(service, [*known, ALL])
        names = ", ".join(node["name"] for node in able)
        raise SiteError(f"restore: service {service!r}: must be one that {names} keeps; {fix}")
    return found


def words(service: str, options: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the node's program after its command; raise SiteError for what excludes itself.

    `options`: database, bucket, path, snapshot, copy, safety; empty where not given.
    """
    narrow = [name for name in NARROW if options.get(name)]
    if len(narrow) > 1:
        raise SiteError(f"restore: {' and '.join(narrow)}: must be one at a time; leave the others out")
    named = [*narrow, *(["snapshot"] if options.get("snapshot") else [])]
    if service == ALL and named:
        raise SiteError(f"restore: {named[0]} with service=all: must be of one service; name it")
    given = [f"--{name}={options[name]}" for name in (*NARROW, "snapshot", "copy") if options.get(name)]
    return [service, *given, *([] if options.get("safety", True) else ["--no-safety-copy"])]


def command(verb: str, arguments: Sequence[str]) -> str:
    """Return what a shell of the node runs as root."""
    return shlex.join([PROGRAM, verb, *arguments])


def over_ssh(ssh: Sequence[str], line: str) -> list[str]:
    """Return what runs a line of a shell as root over ssh, so that its output comes as it is written."""
    return [*ssh, "-o", "BatchMode=yes", f"sudo -n {line}"]


def off_site(repository: str, environment: Mapping[str, str], node: str) -> str:
    """Return what the node's program is handed to reach its off-site repository; raise SiteError for none."""
    if not repository:
        raise SiteError(
            "restore: copy 'offsite': must be a repository outside the site; name it as site_offsite in "
            "group_vars/all/shared.yml, or restore from copy 1 or 2"
        )
    return json.dumps({**environment, "RESTIC_REPOSITORY": f"{repository.rstrip('/')}/{node}"})


def failure(node: str, code: int, last: str) -> str:
    """Return what a failed restore tells, and whether anything was changed."""
    untouched = "; nothing was changed" if code in (REFUSED, BUSY) else ""
    return f"{node}: {last}{untouched}"


def listed(said: str) -> list[str]:
    """Return the lines for people of what a node lists; raise ValueError where it is no list."""
    document = json.loads(said[said.index("{") :])
    lines = []
    for copy in document["copies"]:
        title = f"{document['node']}: {copy['job']}, copy {copy['copy'] or 'offsite'} on {copy['store']}"
        if "error" in copy:
            lines.append(f"{title}: {copy['error']}")
            continue
        snapshots = copy["snapshots"]
        lines.append(f"{title}: {len(snapshots)} snapshots")
        for one in snapshots[:SHOWN]:
            amount = "" if one["bytes"] is None else f", {size(one['bytes'])}"
            before = ", before a change" if one.get("before") else ""
            lines.append(f"    {one['id']} of {one['time'][:16].replace('T', ' ')} UTC{amount}{before}")
    return lines
