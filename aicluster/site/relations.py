"""What services need of each other, checked where they are placed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..errors import SiteError
from .addresses import is_open
from .catalogue import OUTSIDE, file_of
from .containers import ASKING, addresses_of, subnet_of
from .data import bucket_users, database_roles
from .ingress import INGRESS, ingress_pages
from .nodes import nodes_running
from .rules import suggestion

# Of the site's own CA, which issues the certificates of ports with `tls`.
CA_SECRET = "site_ca"
CONTROL = "control_node"

Node = Mapping[str, Any]


def names(entry: Mapping[str, Any], key: str) -> list[str]:
    """Return a list of names of a catalogue entry; what is none is reported by `site_errors`."""
    value = entry.get(key)
    return [name for name in value if isinstance(name, str)] if isinstance(value, list) else []


def implied_secrets(service: str, entry: Mapping[str, Any]) -> dict[str, str]:
    """Return secret name -> what it is for: databases and their roles, buckets, a token."""
    metrics, roles = (entry.get(key) or {} for key in ("metrics", "database_roles"))
    with_tls = [name for name, port in entry["ports"].items() if port.get("tls")]
    return {
        **({CA_SECRET: f"TLS on port {with_tls[0]}"} if with_tls else {}),
        **({metrics["token"]: "token of metrics"} if "token" in metrics else {}),
        **{role["secret"]: f"database role {name}" for name, role in roles.items()},
        **{f"{name}_db_password": f"database {name}" for name in names(entry, "databases")},
        **({f"{service}_s3_secret": "buckets"} if names(entry, "buckets") else {}),
    }


def bond_problems(node: Node, everywhere: set[str]) -> Iterator[str]:
    """Yield the services of one node that miss another one, on the node or in the cluster."""
    for service, entry in node["services"].items():
        for needed in names(entry, "needs"):
            if needed not in everywhere:
                yield (
                    f"service {service} on {node['name']} needs {needed}: must run on some node; add "
                    f"`- {needed}` to the node_services of a tier, or take {service} off its list"
                )
        for neighbour in names(entry, "beside"):
            if neighbour not in node["services"]:
                yield (
                    f"service {service} on {node['name']} works beside {neighbour}: must run on the same "
                    f"node; add `- {neighbour}` to the node_services there, or move {service} to it"
                )


def secret_problems(node: Node) -> Iterator[str]:
    """Yield secrets that follow from what a service of the node asks for, and that it does not list."""
    for service, entry in node["services"].items():
        for secret, reason in implied_secrets(service, entry).items():
            if secret not in names(entry, "secrets"):
                yield (
                    f"secrets of service {service} {names(entry, 'secrets')}: must have {secret} for its "
                    f"{reason}; add it in {file_of(service)}"
                )


def container_problems(node: Node) -> Iterator[str]:
    """Yield containers without a health check: nobody could wait until they are healthy."""
    for service, entry in node["services"].items():
        if entry.get("image") and entry.get("health") is None and "health" in entry:
            yield (
                f"health of service {service} null: must be a check, because it runs in a container; "
                f"write one in {file_of(service)}"
            )


def closed(there: Node, service: str, key: str, other: Node, asks: str) -> Iterator[str]:
    """Yield that a page (`key`) of a service on `there` is not open to the tier of another node that asks."""
    entry = there["services"][service]
    port = entry[key]["port"]
    audience = names(entry["ports"][port], "from")
    if other["host"] != there["host"] and not is_open({"from": audience}, other["tier"]):
        yield (
            f"from of port {port} of service {service} on {there['name']} {audience}: must include "
            f"{other['tier']}: {asks}; add it in {file_of(service)}"
        )


def reach_problems(node: Node, askers: Mapping[str, list[Node]]) -> Iterator[str]:
    """Yield ports that another node asks for metrics or a page, and that are not open to its tier."""
    for service, entry in node["services"].items():
        for asker, key in ASKING.items():
            for other in askers[asker] if entry.get(key) else []:
                asks = f"{asker} on {other['name']} asks for its {key}"
                yield from closed(node, service, key, other, asks)


def page_problems(node: Node, nodes: Sequence[Node]) -> Iterator[str]:
    """Yield what keeps the nginx of a node from serving pages."""
    try:
        pages = ingress_pages(node, nodes) if INGRESS in node["services"] else []
    except SiteError as error:
        yield str(error)
        return
    for page in pages:
        there = next(one for one in nodes if one["host"] == page["host"])
        asks = f"nginx on {node['name']} serves its page"
        yield from closed(there, page["service"], "dashboard", node, asks)


def unknown_reach(node: Node, catalogue: Iterable[str]) -> Iterator[str]:
    """Yield what containers shall connect to and nothing is called."""
    known = [*catalogue, *OUTSIDE]
    for service, entry in node["services"].items():
        for word in names(entry, "reaches"):
            if word not in known:
                yield (
                    f"reaches of service {service} on {node['name']} {word!r}: must be a service, "
                    f"{' or '.join(OUTSIDE)}; {suggestion(word, known)} in {file_of(service)}"
                )


def address_problems(node: Node) -> Iterator[str]:
    """Yield containers that would get the same address; each follows from two names alone."""
    whole: str = node["container_network"]
    taken: dict[Any, str] = {}
    addresses: dict[tuple[str, str], str] = {}
    for service, entry in node["services"].items():
        for network, address in addresses_of(service, node).items() if entry.get("image") else ():
            # Of a bridge's name, as `compose_networks` makes it, so much is the network's.
            others = {taken.setdefault(key, network) for key in (subnet_of(network, whole), network[:11])}
            for other in others - {network}:
                yield (
                    f"network {network} of service {service} on {node['name']}: must share neither addresses "
                    f"nor 11 first letters with {other}; rename it (`ingress.network`) in {file_of(service)}"
                )
            other = addresses.setdefault((network, address), service)
            if other != service:
                yield (
                    f"address {address} of service {service} on {node['name']}: must be its own, and {other} "
                    f"has it, too; give one of both an `ingress.network`, or another name"
                )


def service_relations(nodes: Sequence[Node], catalogue: Iterable[str]) -> list[str]:
    """Return one sentence per service that is not given what it needs of others; an empty list is good.

    `nodes`: entries of `cluster_nodes`; `catalogue`: all services, placed or not.
    """
    everywhere = {service for node in nodes for service in node["services"]}
    askers = {asker: nodes_running(nodes, asker) for asker in ASKING}
    found: list[str] = []
    for node in nodes:
        found += bond_problems(node, everywhere)
        found += container_problems(node)
        found += secret_problems(node)
        found += reach_problems(node, askers)
        # Without pages nobody knows which networks nginx joins.
        found += [*page_problems(node, nodes)] or address_problems(node)
        found += unknown_reach(node, catalogue)
    # Nodes let in the key of one; two would start every night twice.
    first, *others = [node["name"] for node in nodes_running(nodes, CONTROL)] or [""]
    rule = f"must be on one node, and {first} has it; take it off the list of one"
    found += [f"service {CONTROL} on {name}: {rule}" for name in others]
    for demanded in (database_roles, bucket_users):
        try:
            demanded(nodes)
        except SiteError as error:
            found.append(str(error))
    return list(dict.fromkeys(found))
