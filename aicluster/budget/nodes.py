"""What each node has and what its services plan to use: memory, disk, ports, architecture."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

FIRST_FREE_PORT = 1024  # below it ports are reserved for well-known services


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def together(node: Mapping[str, Any], services: Iterable[str]) -> dict[str, list[str]]:
    """Return profile -> the services that run in it together; one profile "" for a node without any."""
    profiles: Mapping[str, Any] = node.get("profiles") or {}
    sometimes = {service for names in profiles.values() if isinstance(names, list) for service in names}
    always = [service for service in services if service not in sometimes]
    if not profiles:
        return {"": always}
    return {
        profile: [*always, *(service for service in services if isinstance(names, list) and service in names)]
        for profile, names in profiles.items()
    }


def account(node: Mapping[str, Any], resource: str, unit: str) -> tuple[dict[str, int | None], list[str]]:
    """Return (`<resource>_<unit>`, its planned and its free part; problems) of one node for memory or disk.

    `unit` is `mb` (MiB) or `gb` (GiB). Memory is that of the profile that needs most, because an
    inactive service needs none; disk is that of all services. Numbers that are missing or no integers make
    the sums None and no problem: the preflight reports them as what they are.
    """
    key = f"{resource}_{unit}"
    has, reserved = node.get(key), node.get(f"{resource}_reserved_{unit}")
    needs = {service: entry.get(key) for service, entry in node["services"].items()}
    keys = (key, f"{resource}_planned_{unit}", f"{resource}_free_{unit}")
    if not (_whole(has) and _whole(reserved) and all(map(_whole, needs.values()))):
        return dict.fromkeys(keys), []
    sets = together(node, needs) if resource == "memory" else {"": list(needs)}
    sums = {
        profile: reserved + sum(needs[service] for service in services) for profile, services in sets.items()
    }
    planned = max(sums.values())
    figures = dict(zip(keys, (has, planned, has - planned), strict=True))
    name = {"mb": "MiB", "gb": "GiB"}[unit]
    problems = []
    for profile, services in sets.items():
        if sums[profile] > has:
            parts = [f"{reserved} reserved", *(f"{one} {needs[one]}" for one in services if needs[one])]
            where = f" in profile {profile}" if profile else ""
            fix = "take one out of the profile" if profile else "move one to another tier's node_services"
            problems.append(
                f"{resource} of {node['name']} {sums[profile]} {name} planned{where} ({', '.join(parts)}): "
                f"must fit into its {has} {name}; lower {key} of a service there or {fix}"
            )
    return figures, problems


def port_problems(node: Mapping[str, Any]) -> list[str]:
    """Return one problem per port number of the node that two parties want; `from: []` publishes nothing."""
    takers: dict[int, list[str]] = defaultdict(list, {node["ssh_port"]: ["sshd"]})
    for service, entry in node["services"].items():
        for name, port in (entry.get("ports") or {}).items():
            if isinstance(port, Mapping) and port.get("from") and _whole(port.get("port")):
                takers[port["port"]].append(f"{service}.{name}")
    problems = []
    for number, names in sorted(takers.items()):
        if len(names) > 1:
            service, port = names[-1].split(".", 1)
            free = number + 8000 if number < FIRST_FREE_PORT else number + 1
            while free in takers:
                free += 1
            problems.append(
                f"port {number} of {node['name']} {' and '.join(names)}: must belong to one of them; "
                f"move one, for instance with `- {service}: {{ports: {{{port}: {{port: {free}}}}}}}`"
            )
    return problems


def architecture_problems(node: Mapping[str, Any]) -> list[str]:
    """Return one problem per service of the node whose image does not exist for the node's architecture."""
    has = node.get("architecture")
    problems = []
    for service, entry in node["services"].items():
        built = entry.get("architectures")
        if entry.get("image") and has and isinstance(built, list) and has not in built:
            problems.append(
                f"service {service} on {node['name']} {has}: its image {entry.get('image')} is built for "
                f"{', '.join(map(str, built)) or 'no architecture'} only; move it to another tier or "
                "override its image and architectures in node_services"
            )
    return problems


def node_budget(nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one account per entry of `cluster_nodes`, in its order.

    Account: node (name), the figures of `account` for memory and disk, problems. What is planned includes
    what the node reserves for itself.
    """
    accounts = []
    for node in nodes:
        memory, over_memory = account(node, "memory", "mb")
        disk, over_disk = account(node, "disk", "gb")
        problems = [*architecture_problems(node), *port_problems(node), *over_memory, *over_disk]
        accounts.append({"node": node["name"], **memory, **disk, "problems": problems})
    return accounts
