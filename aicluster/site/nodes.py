"""The cluster as data: which node runs which service, and where a service is reached.

Source of every value: the inventory's groups (tier), ``host_vars/<ip>/node.yml`` and ``group_vars`` (the
node), ``service_catalogue`` (what a service is), and the lists of ``PLACEMENTS`` (where it runs, with
overrides).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SiteError
from .pins import pins_of
from .placement import placement, profiles_here, service_entry
from .replication import FACT, SERVICE, is_standby, pair_up

# The children of `nodes` in inventory/groups.yml: a filter sees a host's groups, not their tree.
TIERS = ("gateway", "primary_ai", "secondary_ai", "backend", "monitoring", "edge", "utility")

SSH_PORT = 22
# What an entry has as the variable `node_<name>` says it.
AS_SAID = (
    *("mac", "board", "architecture", "memory_mb", "memory_reserved_mb", "disk_gb", "disk_reserved_gb"),
    *("health_start_interval_s", "profile", "container_network"),
)


def ssh_port(hostvars: Mapping[str, Any]) -> int:
    """Return the port the node's sshd listens on; what is no number is for the preflight to report."""
    said = str(hostvars.get("ansible_ssh_port") or hostvars.get("ansible_port") or "")
    return int(said) if said.isdecimal() else SSH_PORT


def node_entry(
    hostvars: Mapping[str, Any], catalogue: Mapping[str, Any], pins: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """Return one node as a plain mapping.

    Only the keys named here are read: every key of lazy host variables costs a templating run.
    """
    host = str(hostvars["inventory_hostname"])
    name = str(hostvars.get("node_name") or host)
    groups = list(hostvars.get("group_names") or [])
    built_for = hostvars.get("site_image_architectures")
    services = {
        service: service_entry(catalogue.get(service, {}), overrides, built_for)
        for service, overrides in placement(name, hostvars).items()
    }
    for service, entry in services.items():
        if image := pins.get((host, service)):
            entry |= {"image": image, "pinned_from": entry.get("image")}
    return {
        "name": name,
        "host": host,
        "address": hostvars.get("node_address") or host,
        "ssh_port": ssh_port(hostvars),
        "tier": next((tier for tier in TIERS if tier in groups), None),
        **{key: hostvars.get(f"node_{key}") for key in AS_SAID},
        "drained": bool(hostvars.get("node_drained")),
        "share": hostvars.get("node_ai_share"),
        "tier_share": hostvars.get("node_ai_tier_share"),
        "capacity": hostvars.get("node_ai_capacity"),
        "profiles": profiles_here(hostvars.get("node_profiles"), services),
        "services": services,
        FACT: hostvars.get(FACT) if SERVICE in services else None,
    }


def divided(share: float, parts: int) -> list[float]:
    """Return `share` in `parts` with four decimals that add up to it exactly; the first is the biggest.

    More decimals would not be exact, and shares must add up to 100.
    """
    if parts == 1:
        return [share]
    unit = 10_000
    whole = round(share * unit)
    each = whole // parts
    return [(whole - each * (parts - 1)) / unit, *[each / unit] * (parts - 1)]


def share_out(nodes: list[dict[str, Any]]) -> None:
    """Give the nodes of a tier without a share of their own equal parts of the tier's, and drop that."""
    for tier in TIERS:
        members = [node for node in nodes if node["tier"] == tier and node["share"] is None]
        tier_shares = {node["tier_share"] for node in members}
        # A number that is none, or differs within a tier, is reported by the preflight.
        if len(tier_shares) == 1 and isinstance(share := tier_shares.pop(), int | float):
            for node, part in zip(members, divided(share, len(members)), strict=True):
                node["share"] = part
    for node in nodes:
        del node["tier_share"]


def cluster_nodes(
    hostvars_list: Iterable[Mapping[str, Any]], catalogue: Mapping[str, Any], pins: object = None
) -> list[dict[str, Any]]:
    """Return the cluster, one entry per host, in the order given.

    Entry: as `node_entry` makes it, in MiB and GiB. share: percent, its own or its part of the tier's;
    capacity: in any unit, one for all nodes; profiles: profile -> services that run in it and in no other;
    services: name -> catalogue entry with the overrides, with an image of `pins` (those of a rollback) also
    pinned_from, its own, and with `replication` where it has a standby, see `pair_up`.
    A value nobody set is None and a service the catalogue lacks has only its overrides: finding mistakes
    is the preflight's work. Raises SiteError where a list of services cannot be read at all.
    """
    images = pins_of(pins)
    nodes = [node_entry(hostvars, catalogue, images) for hostvars in hostvars_list]
    share_out(nodes)
    pair_up(nodes)
    return nodes


def nodes_running(nodes: Iterable[Mapping[str, Any]], service: str) -> list[Mapping[str, Any]]:
    """Return the entries of `cluster_nodes` whose node runs `service`, drained or not; a standby is last."""
    running = [node for node in nodes if service in node["services"]]
    return sorted(running, key=lambda node: is_standby(node["services"][service]))


def profiles_of(service: str, node: Mapping[str, Any]) -> list[str]:
    """Return the profiles of a node in which a service runs; none means always."""
    return [str(profile) for profile, services in node["profiles"].items() if service in services]


def service_endpoints(
    nodes: Iterable[Mapping[str, Any]], service: str, port_name: str
) -> list[dict[str, Any]]:
    """Return where `service` is reached, one entry per node that runs it, in the cluster's order.

    A service that runs nowhere gives an empty list; a standby is none of them. Raises SiteError if a node
    runs the service without a port of that name.
    """
    endpoints = []
    for node in nodes_running(nodes, service):
        if is_standby(node["services"][service]):
            continue
        ports = node["services"][service].get("ports") or {}
        if port_name not in ports:
            raise SiteError(
                f"service_endpoints: port {port_name} of {service} on {node['name']}: is not among its "
                f"ports ({', '.join(ports) or 'none'}); name one of these or add it to service_catalogue"
            )
        where = {"host": node["host"], "address": node["address"], "port": ports[port_name]["port"]}
        part = {key: node[key] for key in ("share", "capacity", "drained")}
        endpoints.append({"node": node["name"], **where, **part})
    return endpoints
