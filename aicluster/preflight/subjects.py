"""How an error names what it is about, and the file to correct.

Every error is one sentence `<object> <value>: <rule>; <fix>`.
"""

from collections.abc import Mapping
from typing import Any

from ..site.rules import is_text

OVERRIDES_FILE = "group_vars/all/services.yml"
SHARED_FILE = "group_vars/all/shared.yml"
SITE_FILE = "group_vars/all/site.yml"
HOST_FILE = "host_vars/<address>/node.yml"
BOARD_FILE = "group_vars/<board>/hardware.yml"
NODE_FILE = "group_vars/all/node.yml"
TIER_FILE = "group_vars/<tier>/services.yml"

# What `preflight_errors` checks.
Site = Mapping[str, Any]


def label(site: Site, host: str) -> str:
    """Return `PI51 (192.168.1.147)`, or the address alone while the node has no usable name."""
    name = site["hosts"][host].get("node_name")
    return f"{name} ({host})" if is_text(name) else host


def shared(site: Site, name: str) -> object:
    """Return a variable that is the same for every host, or None."""
    return next((one[name] for one in site["hosts"].values() if name in one), None)


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
