# SPDX-License-Identifier: Apache-2.0
"""The services of one node, as its placement lists name them.

Source: the lists of `PLACEMENTS`, with overrides, over `service_catalogue`.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ..errors import SiteError
from .catalogue import merged

# Lists of services a node runs: what every node has, what its tier brings, what this one has besides.
PLACEMENTS = ("node_common_services", "node_services", "node_own_services")


def items(node: str, name: str, services: object) -> list[object]:
    """Return one of a node's lists of services; raises SiteError if it is none."""
    if isinstance(services, str | Mapping) or not isinstance(services, Iterable):
        raise SiteError(
            f"cluster_nodes: {name} of {node} {services!r}: must be a list; "
            "write one service per line, each line starting with `- `"
        )
    return list(services)


def placement(node: str, hostvars: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return service name -> overrides for one node, in the order of `PLACEMENTS`.

    An item is a service name, or a mapping with that name as its one key and the overrides as its value.
    Raises SiteError for any other shape and for a service that is listed twice.
    """
    placed: dict[str, dict[str, Any]] = {}
    for item in [item for name in PLACEMENTS for item in items(node, name, hostvars.get(name) or [])]:
        pairs = {item: {}} if isinstance(item, str) else item
        if not isinstance(pairs, Mapping) or len(pairs) != 1:
            raise SiteError(
                f"cluster_nodes: item of node_services of {node} {item!r}: must be a service name or a "
                "mapping with one key; write `- name` or `- name: {memory_mb: 512}`"
            )
        [(service, overrides)] = pairs.items()
        overrides = {} if overrides is None else overrides
        if not isinstance(overrides, Mapping):
            raise SiteError(
                f"cluster_nodes: overrides of {service} on {node} {overrides!r}: must be a mapping; "
                f"write `- {service}: {{memory_mb: 512}}`"
            )
        if service in placed:
            raise SiteError(
                f"cluster_nodes: service {service} on {node}: is listed twice in node_services; keep one"
            )
        placed[str(service)] = dict(overrides)
    return placed


def service_entry(
    entry: Mapping[str, Any], overrides: Mapping[str, Any], built_for: object
) -> dict[str, Any]:
    """Return a catalogue entry as one node has it.

    `built_for`: the architectures of a site's own builds (`site_image_architectures`); they count instead of
    the catalogue's, because images then come from the site's own mirror.
    """
    placed = merged(entry, overrides)
    return {**placed, "architectures": built_for} if built_for else placed


def profiles_here(profiles: object, services: Collection[str]) -> dict[str, list[str]]:
    """Return profile -> its services that are placed on the node, without profiles that would be empty."""
    if not isinstance(profiles, Mapping):
        return {}
    # Whatever is no list of names is for the preflight to report, so nothing here may raise: hence `[*...]`.
    lists = {profile: names for profile, names in profiles.items() if isinstance(names, list)}
    here = {profile: [one for one in names if one in [*services]] for profile, names in lists.items()}
    return {profile: names for profile, names in here.items() if names}
