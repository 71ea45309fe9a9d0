"""The two servers of PostgreSQL, where it runs on two nodes: which one is the primary, and what follows."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import SiteError
from .catalogue import merged
from .rules import named_node, shown, suggestion

SERVICE, FACT, PORT = "postgres", "postgres_primary", "sql"
FILE = "group_vars/all/postgres.yml"
# A primary has one standby.
MOST = 2


def is_standby(entry: Mapping[str, Any]) -> bool:
    """Tell whether a placed service is a copy that follows the one on another node."""
    return (entry.get("replication") or {}).get("role") == "standby"


def pair_up(nodes: Sequence[dict[str, Any]]) -> None:
    """Tell each of two servers its role and the other one; drop the fact from all nodes.

    The entry of the service gets `replication` {role (primary or standby), node, address, port (of the other
    one)}, and the other node's tier is among those that reach its port: either may become the primary.
    A site whose description is wrong gets neither: `replication_problems` names the mistake.
    """
    facts = [node.pop(FACT) for node in nodes]
    having = [node for node in nodes if SERVICE in node["services"]]
    names = [node["name"] for node in having]
    if len(having) != MOST or sum(name in facts for name in names) != 1:
        return
    ports = [node["services"][SERVICE]["ports"][PORT] for node in having]
    for node, own, other, theirs in zip(having, ports, having[::-1], ports[::-1], strict=True):
        tiers = list(own["from"])
        node["services"][SERVICE] = merged(
            node["services"][SERVICE],
            {
                "ports": {PORT: {"from": tiers + [other["tier"]] * (other["tier"] not in tiers)}},
                "replication": {
                    "role": "primary" if node["name"] in facts else "standby",
                    "node": other["name"],
                    "address": other["address"],
                    "port": theirs["port"],
                },
            },
        )


def replication_problems(facts: Sequence[object], nodes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return one sentence for each reason why the servers are no primary with one standby.

    `facts`: what each host says in the variable; `nodes`: entries of `cluster_nodes`.
    """
    having = [node for node in nodes if SERVICE in node["services"]]
    names = [node["name"] for node in having]
    found = []
    if len(having) > MOST:
        found.append(
            f"service {SERVICE} on {', '.join(names)}: must run on one node, or on a second one as its "
            "standby; take it off the services of the others"
        )
    for fact in [fact for number, fact in enumerate(facts) if having and fact not in facts[:number]]:
        if fact not in names and (fact is not None or len(having) > 1):
            found.append(
                f"{FACT} {shown(fact)}: must be the name of a node that runs {SERVICE}; "
                f"{suggestion(fact, names)} in {FILE}"
            )
    images = {node["services"][SERVICE].get("image") for node in having}
    if len(images) > 1:
        found.append(
            f"image of service {SERVICE} on {', '.join(names)}: must be the same on both, because a standby "
            "reads the files of its primary; remove it from the node_services of one"
        )
    return found


def promotion(nodes: Sequence[Mapping[str, Any]], name: str) -> dict[str, str]:
    """Return {node, host, old, old_host}: who becomes the primary and who was; raise SiteError for others."""
    having = [node for node in nodes if SERVICE in node["services"]]
    named = named_node(nodes, name, "promote")
    standbys = [node["name"] for node in having if is_standby(node["services"][SERVICE])]
    if not standbys:
        raise SiteError(
            f"promote: node {name!r}: must be a standby, and the site has none; add {SERVICE} to the "
            f"node_own_services of a second node, write its primary in {FILE}, and run site.yml"
        )
    if named["name"] not in standbys:
        is_one = f"is the primary already; {standbys[0]} is its standby"
        rule = is_one if named in having else f"must be a standby of {SERVICE}; write {standbys[0]}"
        raise SiteError(f"promote: node {name!r}: {rule}")
    other = next(node for node in having if node is not named)
    return {"node": named["name"], "host": named["host"], "old": other["name"], "old_host": other["host"]}
