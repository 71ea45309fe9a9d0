"""The groups and variables of each node, each value by itself."""

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from ..site.catalogue import ARCHITECTURES
from ..site.rules import (
    LAST_PORT,
    is_names,
    is_number,
    is_text,
    is_whole,
    matches,
    or_null,
    shown,
    suggestion,
)
from ..site.schema import is_kind
from .network import is_for_containers
from .subjects import BOARD_FILE, HOST_FILE, NODE_FILE, TIER_FILE, Site, groups_of, label, place_of


class Rule(NamedTuple):
    """What a value must be. `says` completes the sentence "... : must be"; `where` is the file to correct."""

    holds: Callable[[Any], bool]
    says: str
    required: bool = True
    where: str = ""


NAME = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
MAC = r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}"
# On a node `settle` is a word of the same command.
PROFILE = matches(r"(?!settle$)[A-Za-z0-9][A-Za-z0-9_.-]*")
PERCENTAGE = Rule(or_null(is_number(0, 100)), "a percentage from 0 to 100, or null", False, TIER_FILE)
NODE_RULES: dict[str, Rule] = {
    "node_name": Rule(matches(NAME), "a host name of letters, digits and inner hyphens", where=HOST_FILE),
    "node_address": Rule(is_text, "an IPv4 address", where=HOST_FILE),
    "node_mac": Rule(
        or_null(matches(MAC)), "a MAC address such as aa:bb:cc:dd:ee:ff in quotes, or null", False, HOST_FILE
    ),
    "node_board": Rule(is_text, "the name of the board", where=BOARD_FILE),
    "node_architecture": Rule(lambda one: one in ARCHITECTURES, " or ".join(ARCHITECTURES), where=BOARD_FILE),
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
    "node_container_network": Rule(
        is_for_containers,
        "a private IPv4 network of 65536 addresses or more, without host bits and Docker's own "
        "172.17.0.0/16, such as 172.16.0.0/16",
        where=NODE_FILE,
    ),
    "node_drained": Rule(is_kind(bool), "true or false, without quotes", where=HOST_FILE),
    "node_ai_share": PERCENTAGE,
    "node_ai_tier_share": PERCENTAGE,
    "node_ai_capacity": Rule(or_null(is_number(0, 1e12)), "a number from 0, or null", False, HOST_FILE),
    "node_services": Rule(is_kind(list), "a list of services, `[]` for none", where=TIER_FILE),
    "node_common_services": Rule(is_kind(list), "a list of services, `[]` for none", where=NODE_FILE),
    "node_own_services": Rule(is_kind(list), "a list of services, `[]` for none", where=HOST_FILE),
    "node_profile_services": Rule(is_kind(list), "a list of services, `[]` for none", where=NODE_FILE),
    "node_profiles": Rule(
        lambda sets: isinstance(sets, Mapping) and all(PROFILE(one) and is_names(sets[one]) for one in sets),
        "a mapping from profile (letters, digits, `_.-`; not `settle`) to a list of services, `{}` for none",
        required=False,
        where=TIER_FILE,
    ),
    "node_profile": Rule(
        or_null(is_text), "the name of a profile of node_profiles, or null", False, TIER_FILE
    ),
}


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
        unreadable = site["unreadable"].get(host, {})
        node = label(site, host)
        for name, rule in NODE_RULES.items():
            place = place_of(site, host, rule.where)
            if name in unreadable:
                yield f"{name} of {node}: cannot be computed, {unreadable[name]}; correct it in {place}"
            elif name not in variables:
                if rule.required:
                    yield f"{name} of {node} missing: must be {rule.says}; set it in {place}"
            elif not rule.holds(variables[name]):
                yield f"{name} of {node} {shown(variables[name])}: must be {rule.says}; correct it in {place}"
        for name in sorted(variables.keys() - NODE_RULES.keys()):
            close = get_close_matches(name, NODE_RULES, n=1, cutoff=0.85)
            if name.startswith("node_") and close:
                yield f"variable {name} of {node}: is read by nothing; write {close[0]} or remove it"
