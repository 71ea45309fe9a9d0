# SPDX-License-Identifier: Apache-2.0
"""The rules a site description must keep, each value by itself: groups, nodes, catalogue, placement, secrets.

Every error is one sentence `<object> <value>: <rule>; <fix>`. What only shows when values are added up
(memory, disk, ports, shares) is judged by `node_budget` and `upstream_weights`.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from aicluster.site.catalogue import ARCHITECTURES, file_of, merged, problems
from aicluster.site.rules import LAST_PORT, is_names, is_number, is_text, is_whole, or_null, shown, suggestion

OVERRIDES_FILE = "group_vars/all/services.yml"
SITE_FILE = "group_vars/all/site.yml"
# Lists of services a node runs: what every node has, then what its tier brings.
PLACEMENTS = ("node_common_services", "node_services")

Site = Mapping[str, Any]


class Rule(NamedTuple):
    """What a value must be. `says` completes the sentence "... : must be"; `where` is the file to correct."""

    holds: Callable[[Any], bool]
    says: str
    required: bool = True
    where: str = ""


MAC = r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
HOST_FILE = "host_vars/<address>/node.yml"
BOARD_FILE = "group_vars/<board>/hardware.yml"
NODE_FILE = "group_vars/all/node.yml"
TIER_FILE = "group_vars/<tier>/services.yml"
NODE_RULES: dict[str, Rule] = {
    "node_name": Rule(
        lambda value: (
            isinstance(value, str)
            and bool(re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?", value))
        ),
        "a host name of letters, digits and inner hyphens",
        where=HOST_FILE,
    ),
    "node_address": Rule(is_text, "an IPv4 address", where=HOST_FILE),
    "node_mac": Rule(
        or_null(lambda value: isinstance(value, str) and re.fullmatch(MAC, value) is not None),
        "a MAC address such as aa:bb:cc:dd:ee:ff in quotes, or null",
        required=False,
        where=HOST_FILE,
    ),
    "node_board": Rule(is_text, "the name of the board", where=BOARD_FILE),
    "node_architecture": Rule(
        lambda value: value in ARCHITECTURES, " or ".join(ARCHITECTURES), where=BOARD_FILE
    ),
    "node_memory_mb": Rule(is_whole(1), "a whole number of MiB", where=BOARD_FILE),
    "node_memory_reserved_mb": Rule(is_whole(0), "a whole number of MiB", where=NODE_FILE),
    "node_health_start_interval_s": Rule(is_whole(0), "a whole number of seconds", where=NODE_FILE),
    "node_disk_gb": Rule(is_whole(1), "a whole number of GiB", where=HOST_FILE),
    "node_disk_reserved_gb": Rule(is_whole(0), "a whole number of GiB", where=NODE_FILE),
    "ansible_port": Rule(
        or_null(lambda value: str(value).isdecimal() and 1 <= int(value) <= LAST_PORT),
        f"the port of sshd, from 1 to {LAST_PORT}",
        required=False,
        where=f"the inventory or {HOST_FILE}",
    ),
    "node_drained": Rule(
        lambda value: isinstance(value, bool), "true or false, without quotes", where=HOST_FILE
    ),
    "node_ai_share": Rule(
        or_null(is_number(0, 100)), "a percentage from 0 to 100, or null", required=False, where=TIER_FILE
    ),
    "node_ai_tier_share": Rule(
        or_null(is_number(0, 100)), "a percentage from 0 to 100, or null", required=False, where=TIER_FILE
    ),
    "node_ai_capacity": Rule(
        or_null(is_number(0, 1e12)), "a number from 0, or null", required=False, where=HOST_FILE
    ),
    "node_cuda_cores": Rule(is_whole(0), "a whole number", required=False, where=BOARD_FILE),
    "node_services": Rule(
        lambda value: isinstance(value, list),
        "a list of services, `[]` for none",
        where=TIER_FILE,
    ),
    "node_common_services": Rule(
        lambda value: isinstance(value, list), "a list of services, `[]` for none", where=NODE_FILE
    ),
    "node_modes": Rule(
        lambda value: isinstance(value, Mapping) and all(map(is_names, value.values())),
        "a mapping from mode to a list of services, `{}` for none",
        required=False,
        where=TIER_FILE,
    ),
    "node_mode": Rule(or_null(is_text), "the name of a mode of node_modes, or null", False, TIER_FILE),
}


def label(site: Site, host: str) -> str:
    """Return `PI51 (192.168.1.147)`, or the address alone while the node has no usable name."""
    name = site["hosts"][host].get("node_name")
    return f"{name} ({host})" if is_text(name) else host


def place_of(site: Site, host: str, pattern: str) -> str:
    """Return the file to correct for one host, from a pattern with `<address>`, `<tier>` or `<board>`."""
    place = pattern.replace("<address>", host)
    for kind in ("tier", "board"):
        for group in groups_of(site, host, kind)[:1]:
            place = place.replace(f"<{kind}>", group)
    return place


def groups_of(site: Site, host: str, kind: str) -> list[str]:
    """Return the groups of kind `tier` or `board` that a host is in; a sound site has one of each."""
    return [group for group in site["vocabulary"][f"{kind}s"] if host in site["groups"].get(group, [])]


def group_errors(site: Site) -> Iterator[str]:
    """Yield unknown groups of the inventory, and hosts that are not in exactly one tier and one board."""
    vocabulary = site["vocabulary"]
    leaves = [*vocabulary["tiers"], *vocabulary["boards"]]
    for group, hosts in site["groups"].items():
        if group not in vocabulary["groups"]:
            yield (
                f"group {group} {', '.join(hosts) or 'without hosts'}: is not among the groups of "
                f"inventory/groups.yml; {suggestion(group, leaves)} in the inventory"
            )
    for host in site["hosts"]:
        for kind in ("tier", "board"):
            known = vocabulary[f"{kind}s"]
            found = groups_of(site, host, kind)
            if len(found) != 1:
                fix = (
                    f"keep one of {', '.join(found)}" if found else f"put it under one of {', '.join(known)}"
                )
                yield (
                    f"{kind} of {label(site, host)} {' and '.join(found) or 'none'}: must be exactly one "
                    f"{kind} group; {fix} in the inventory"
                )


def node_errors(site: Site) -> Iterator[str]:
    """Yield what is wrong with each node's variables: missing, wrong type, misspelt, not computable."""
    for host, variables in site["hosts"].items():
        broken = site["unreadable"].get(host, {})
        node = label(site, host)
        for name, rule in NODE_RULES.items():
            place = place_of(site, host, rule.where)
            if name in broken:
                yield f"{name} of {node}: cannot be computed, {broken[name]}; correct it in {place}"
            elif name not in variables:
                if rule.required:
                    yield f"{name} of {node} missing: must be {rule.says}; set it in {place}"
            elif not rule.holds(variables[name]):
                yield f"{name} of {node} {shown(variables[name])}: must be {rule.says}; correct it in {place}"
        for name in sorted(variables.keys() - NODE_RULES.keys()):
            close = get_close_matches(name, NODE_RULES, n=1, cutoff=0.85)
            if name.startswith("node_") and close:
                yield f"variable {name} of {node}: is read by nothing; write {close[0]} or remove it"


def network_of(text: object) -> ipaddress.IPv4Network | None:
    """Return a network written without host bits, or None."""
    try:
        return ipaddress.IPv4Network(text) if isinstance(text, str) else None
    except ValueError:
        return None


def network_errors(site: Site) -> Iterator[str]:
    """Yield each `site_network` that is none, and each `site_router` and `site_operators` that is not there.

    Of a network, the corrected one is named if only host bits are set.
    """
    for variables in site["hosts"].values():
        value = variables.get("site_network")
        network = network_of(value)
        if network is None:
            try:
                fix = f"write {ipaddress.IPv4Network(value, strict=False)}"
            except ValueError:
                fix = "write for instance 192.168.1.0/24"
            yield f"site_network {shown(value)}: must be an IPv4 network; {fix} in {SITE_FILE}"
        else:
            text = variables.get("site_router")
            router = network_of(text)
            ends = (network.network_address, network.broadcast_address)
            if (
                router is None
                or router.num_addresses > 1
                or not router.subnet_of(network)
                or router.network_address in ends
            ):
                yield (
                    f"site_router {shown(text)}: must be an address inside site_network {network}; write "
                    f"that of your router in {SITE_FILE}"
                )
        yield from operator_errors(variables.get("site_operators"), network)


def operator_errors(operators: object, network: ipaddress.IPv4Network | None) -> Iterator[str]:
    """Yield why `site_operators` is no list of networks and addresses, or has nobody of this network."""
    if not isinstance(operators, list):
        yield (
            f"site_operators {shown(operators)}: must be a list of networks or addresses; "
            f"write for instance [192.168.1.10] in {SITE_FILE}"
        )
        return
    places = [network_of(one) for one in operators]
    for one, place in zip(operators, places, strict=True):
        if place is None or not place.prefixlen:
            yield (
                f"item of site_operators {shown(one)}: must be an IPv4 network or address, not everybody; "
                f"write for instance 192.168.1.0/24 or 192.168.1.10 in {SITE_FILE}"
            )
    if network and places and all(place and not place.overlaps(network) for place in places):
        yield (
            f"site_operators {shown(operators)}: one at least must be in site_network {network}, or this is "
            f"the list of another site; write who works there, {network} for everybody, in {SITE_FILE}"
        )


def address_error(site: Site, host: str) -> str | None:
    """Return what is wrong with one node's address, or None."""
    variables = site["hosts"][host]
    text, network = variables.get("node_address"), network_of(variables.get("site_network"))
    subject = f"address of {label(site, host)} {shown(text)}"
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        place = place_of(site, host, HOST_FILE)
        return f"{subject}: must be an IPv4 address, four numbers from 0 to 255; set node_address in {place}"
    if network is None:
        return None
    if address not in network:
        return f"{subject}: must be inside site_network {network}; correct it, or group_vars/all/site.yml"
    if address in (network.network_address, network.broadcast_address):
        return f"{subject}: must not be the first or last of {network}; give the node another"
    if text == variables.get("site_router"):
        return f"{subject}: must not be site_router; give the node another or correct group_vars/all/site.yml"
    return None


def identity_errors(site: Site) -> Iterator[str]:
    """Yield invalid addresses, and names and addresses that several nodes have."""
    owners: dict[tuple[str, str], list[str]] = defaultdict(list)
    for host, variables in site["hosts"].items():
        if is_text(variables.get("node_address")):
            owners["address", variables["node_address"]].append(host)
            if error := address_error(site, host):
                yield error
        if is_text(variables.get("node_name")):
            # Names become host names, which know no upper case.
            owners["name", variables["node_name"].lower()].append(host)
    for (kind, _), hosts in owners.items():
        if len(hosts) > 1:
            values = dict.fromkeys(site["hosts"][host][f"node_{kind}"] for host in hosts)
            yield (
                f"node_{kind} {' and '.join(values)} of {' and '.join(hosts)}: must belong to one node; "
                f"give each its own in {HOST_FILE}"
            )


def catalogue_errors(site: Site) -> Iterator[str]:
    """Yield what is wrong in the files of services, placed anywhere or not, and in the site's overrides."""
    services, overrides, tiers = site["services"], site["overrides"], site["vocabulary"]["tiers"]
    unreadable = site["unreadable"].get("site", {})
    for service, entry in services.items():
        yield from problems(f"service {service}", entry, file_of(service), tiers)
    if not isinstance(overrides, Mapping):
        value = unreadable.get("service_overrides", shown(overrides))
        yield (
            f"service_overrides {value}: must be a mapping from service to what differs, `{{}}` for none; "
            f"correct it in {OVERRIDES_FILE}"
        )
        return
    for service, changes in overrides.items():
        if service not in services:
            fix = suggestion(service, services)
            yield f"service_overrides {service}: is not in the service catalogue; {fix} in {OVERRIDES_FILE}"
        elif isinstance(services[service], Mapping):
            subject = f"service_overrides of {service}"
            yield from problems(subject, changes, OVERRIDES_FILE, tiers, services[service])
    if site["catalogue"] != merged(services, overrides):
        yield (
            f"service_catalogue {unreadable.get('service_catalogue', 'set elsewhere')}: must be what the "
            "services' folders and service_overrides make together; take it off there and write what differs "
            f"as service_overrides in {OVERRIDES_FILE}"
        )


def placed(node_services: object) -> list[tuple[str, object]] | None:
    """Return the (service, overrides) of one node in order, or None if an item has neither allowed shape."""
    items: list[tuple[str, object]] = []
    for item in node_services if isinstance(node_services, list) else []:
        if is_text(item):
            items.append((item, {}))
        elif isinstance(item, Mapping) and len(item) == 1:
            items.extend(
                (str(service), {} if changes is None else changes) for service, changes in item.items()
            )
        else:
            return None
    return items


def all_placed(variables: Mapping[str, Any]) -> list[tuple[str, object]]:
    """Return the (service, overrides) of all lists of one node that can be read."""
    return [item for name in PLACEMENTS for item in placed(variables.get(name)) or []]


def mode_errors(site: Site) -> Iterator[str]:
    """Yield modes that name what is no service, and a first mode in which nothing runs.

    A service of the catalogue that is placed elsewhere may be named: moving it takes one line, not two.
    """
    known = list(map(str, site["catalogue"])) if isinstance(site["catalogue"], Mapping) else []
    for host, variables in site["hosts"].items():
        modes, first = variables.get("node_modes") or {}, variables.get("node_mode")
        if not (isinstance(modes, Mapping) and all(map(is_names, modes.values()))):
            continue
        place, node = place_of(site, host, TIER_FILE), label(site, host)
        here = [service for service, _ in all_placed(variables)]
        for mode, services in modes.items():
            for service in services:
                if known and service not in known:
                    yield (
                        f"node_modes of {node} {mode} names {shown(service)}: must be a service; "
                        f"{suggestion(service, known)} in {place}"
                    )
        usable = [str(mode) for mode, services in modes.items() if set(services) & set(here)]
        if usable and first not in usable:
            yield (
                f"node_mode of {node} {shown(first)}: must be the mode a fresh node starts in; "
                f"{suggestion(first, usable)} in {place}"
            )


def placement_errors(site: Site) -> Iterator[str]:
    """Yield what is wrong with the lists of services: shape, unknown or repeated one, no role, overrides."""
    catalogue = site["catalogue"]
    if not isinstance(catalogue, Mapping):
        return
    for host, variables in site["hosts"].items():
        place = place_of(site, host, TIER_FILE)
        unusable = [name for name in PLACEMENTS if placed(variables.get(name)) is None]
        for name in unusable:
            yield (
                f"{name} of {label(site, host)} {shown(variables[name])}: each item must be a name or "
                f"one `name: {{overrides}}`; correct it in {place_of(site, host, NODE_RULES[name].where)}"
            )
        if unusable:
            continue
        services = all_placed(variables)
        names = [service for service, _ in services]
        for service in dict.fromkeys(names):
            subject = f"service {service} on {label(site, host)}"
            if names.count(service) > 1:
                times = names.count(service)
                yield f"{subject} {times} times: must be listed once; remove the others in {place}"
            if service not in catalogue:
                yield (
                    f"{subject}: is not in the service catalogue; {suggestion(service, map(str, catalogue))} "
                    f"in {place}, or describe it in {file_of(service)}"
                )
        for service, overrides in services:
            if isinstance(catalogue.get(service), Mapping):
                subject = f"override of {service} on {label(site, host)}"
                tiers = site["vocabulary"]["tiers"]
                yield from problems(subject, overrides, place, tiers, catalogue[service])


def secret_needs(site: Site) -> dict[str, list[str]]:
    """Return secret name -> the services that are placed somewhere and need it, in placement order."""
    needs: dict[str, list[str]] = {}
    for variables in site["hosts"].values():
        for service, overrides in all_placed(variables):
            base = site["catalogue"].get(service) if isinstance(site["catalogue"], Mapping) else None
            layers = [
                layer for layer in (overrides, base) if isinstance(layer, Mapping) and "secrets" in layer
            ]
            names = layers[0]["secrets"] if layers else []
            for name in names if is_names(names) else []:
                if service not in needs.setdefault(name, []):
                    needs[name].append(service)
    return needs


def secret_errors(site: Site) -> Iterator[str]:
    """Yield each secret that a placed service needs and that is missing or malformed, without its value."""
    needs, secrets = secret_needs(site), site["secrets"]
    wanted = ", ".join(f"{name} ({' and '.join(services)})" for name, services in needs.items())
    make = f"`{site['playbook']} playbooks/secrets.yml`"
    if secrets["exposed"]:
        yield (
            f"secrets file {secrets['file']} in plain text: git must ignore it or ansible-vault encrypt it; "
            f"`ansible-vault encrypt {shlex.quote(secrets['file'])}`, or name it in .gitignore"
        )
    if needs and secrets["problem"]:
        fix = secrets["fix"] or f"{make} makes it, with a random value for each of {wanted}"
        yield f"secrets file {secrets['file']}: {secrets['problem']}; {fix}"
        return
    for name, services in needs.items():
        if name not in secrets["names"]:
            yield (
                f"secret {name} of service {' and '.join(services)} missing: must have a value in "
                f"{secrets['file']}; {make} makes what is missing"
            )
        elif name in secrets["malformed"]:
            yield (
                f"secret {name} of service {' and '.join(services)} (hidden) {secrets['malformed'][name]}: "
                f"must be one line of printable ASCII that means itself to every program; write "
                f"`{name}: '<value>'`, in quotes and without that, in {secrets['file']}"
            )


def inventory_errors(site: Site) -> Iterator[str]:
    """Yield inventories the control node would read that are not those of this run: other nodes, at night."""
    used = [PurePosixPath(name) for name in site["inventories"]]
    elsewhere = [str(path) for path in used if path.is_absolute()]
    own = [f"inventory/{path.name}" if path.is_absolute() else str(path) for path in used]
    for host, variables in site["hosts"].items():
        option = (site["roles"].get("control_node") or {}).get("control_node_inventories")
        if not (used and option and "control_node" in dict(all_placed(variables))):
            continue
        chosen = variables.get("control_node_inventories", option["default"])
        paths = [PurePosixPath(name) for name in chosen] if is_names(chosen) else []
        foreign = [str(path) for path in paths if not {path, *path.parents} & {*used}]
        if foreign:
            move = f"move {' and '.join(elsewhere)} into inventory/ and " if elsewhere else ""
            yield (
                f"control_node_inventories of {label(site, host)} {shown(chosen)}: {' and '.join(foreign)} "
                f"must be an inventory of this run, or the nightly job works on other nodes; {move}write "
                f"control_node_inventories: [{', '.join(own)}] among the variables of your inventory"
            )


def owner_of(variable: str, roles: Iterable[str]) -> str | None:
    """Return the role a variable belongs to by its prefix, the longest one that fits, or None."""
    owners = [role for role in roles if variable.startswith(f"{role}_")]
    return max(owners, key=len, default=None)


def role_variable_errors(site: Site) -> Iterator[str]:
    """Yield inventory variables that their role does not know, or whose value breaks its specification."""
    found: dict[str, list[str]] = defaultdict(list)
    for host, variables in site["hosts"].items():
        for name, value in variables.items():
            role = owner_of(name, site["roles"])
            if role is not None and site["roles"][role] is not None:
                for error in role_variable_error(role, name, value, site["roles"][role]):
                    found[error].append(label(site, host))
    for error, hosts in found.items():
        yield error.replace("<nodes>", ", ".join(hosts), 1)


def role_variable_error(role: str, name: str, value: object, options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the errors of one variable, with `<nodes>` where the nodes that have it belong."""
    specification = f"roles/{role}/meta/argument_specs.yml"
    if name not in options:
        known = suggestion(name, options) if options else "remove it"
        yield f"variable {name} on <nodes>: is not known to role {role}; {known} ({specification})"
        return
    messages: Sequence[str] = (
        ArgumentSpecValidator({name: options[name]}).validate({name: value}).error_messages
    )
    for message in messages:
        # Ansible's own sentence repeats the value, so neither is shown of a variable that may hold a secret.
        secret = options[name].get("no_log")
        yield (
            f"variable {name} on <nodes> {'(hidden)' if secret else shown(value)}: "
            f"{'breaks its specification' if secret else message.rstrip('.')}; "
            f"correct it as {specification} says"
        )


def site_errors(site: Site) -> list[str]:
    """Return every broken rule of a site description, in the order a reader would correct them.

    `site`: vocabulary {tiers, boards, groups: names}, groups (name -> hosts), hosts (host -> variables:
    node_*, site_network, site_router, site_operators and those of roles), unreadable (host or `site` ->
    variable -> reason), services (service_definitions), overrides (service_overrides), catalogue (both in
    one), roles (name -> options of its argument_specs, None without one), secrets {file, names (those that
    have a value), malformed, problem: text or None, fix: text or None (make it), exposed: whether it is plain
    text that git does not ignore}, inventories (of this run, below the toolkit's root or absolute), playbook
    (how one that opens the secrets is run on these nodes).
    """
    checks = (
        group_errors,
        network_errors,
        node_errors,
        identity_errors,
        inventory_errors,
        catalogue_errors,
        placement_errors,
        mode_errors,
        secret_errors,
        role_variable_errors,
    )
    # What is the same for all hosts is said once.
    return list(dict.fromkeys(error for check in checks for error in check(site)))


class FilterModule:
    """Ansible's entry point to this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {"site_errors": site_errors}
