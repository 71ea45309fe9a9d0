"""Which node a restore is of, what its program is told, and what people read of it."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import SiteError
from ..site.rules import named_node, suggestion
from .jobs import jobs_of
from .stores import BACKUP, Node

PROGRAM = "/opt/aicluster/bin/aicluster_backup_restore.py"
ALL = "all"
REFUSED, BUSY = 2, 75


def kept_on(node: Node) -> list[str]:
    """Return the services of a node that keep something."""
    return [service for service, entry in node["services"].items() if jobs_of(service, entry)]


class Kind(NamedTuple):
    """A kind of run that is of one node: its playbook, and what a node does with a service it is of."""

    playbook: str
    rule: str
    fact: str
    offers: Callable[[Node], Sequence[str]]


RESTORE = Kind("restore", "keeps", "is kept", lambda node: [*kept_on(node), ALL])


def names(nodes: Iterable[Node]) -> str:
    """Return the names of nodes for a sentence."""
    return ", ".join(node["name"] for node in nodes)


def meant_by(kind: Kind, nodes: Sequence[Node], hosts: Sequence[str], name: str) -> list[Node]:
    """Return the node that is named, else those of the play."""
    if name:
        return [named_node(nodes, name, kind.playbook)]
    return [node for node in nodes if node["host"] in hosts]


def hosts_of(kind: Kind, nodes: Sequence[Node], meant: Sequence[Node], service: str) -> list[str]:
    """Return the hosts that a run is about: all that are meant for a list, else the one of a service."""
    if not service:
        return [node["host"] for node in meant]
    able, subject = [node for node in meant if service in kind.offers(node)], f"service {service!r}"
    if not able:
        elsewhere = [node for node in nodes if service in kind.offers(node)]
        known = sorted({one for node in meant for one in kind.offers(node)})
        fix = f"it {kind.fact} on {names(elsewhere)}" if elsewhere else suggestion(service, known)
        raise SiteError(f"{kind.playbook}: {subject}: must be one that {names(meant)} {kind.rule}; {fix}")
    if len(able) > 1:
        raise SiteError(
            f"{kind.playbook}: {subject} of {names(able)}: must be of one node; add --limit or -e node="
        )
    return [able[0]["host"]]


def targets(nodes: Sequence[Node], hosts: Sequence[str], service: str, name: str = "") -> list[str]:
    """Return the hosts that a restore is about: all that keep something for a list, else one.

    `nodes`: entries of `cluster_nodes`; `hosts`: those of the play; `name`: a node, if one is named.
    """
    meant = meant_by(RESTORE, nodes, hosts, name)
    able = [node for node in meant if BACKUP in node["services"]]
    if not able:
        raise SiteError(
            f"restore: {names(meant)}: must run the service {BACKUP}; name another node with --limit"
        )
    return hosts_of(RESTORE, nodes, able, service)


def words(service: str, options: Mapping[str, Any]) -> list[str]:
    """Return the arguments of the node's program after its command.

    `options`: database, bucket, path, snapshot, copy, safety; empty where not given.
    """
    given = [f"--{name}={value}" for name, value in options.items() if name != "safety" and value]
    return [service, *given, *([] if options.get("safety", True) else ["--no-safety-copy"])]


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
