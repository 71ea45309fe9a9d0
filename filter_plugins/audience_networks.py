# SPDX-License-Identifier: Apache-2.0
"""Audiences as addresses: whom the `from` of a port means on the network.

Source: `from` of a port of the catalogue, the nodes in `cluster_nodes`, and `site_network` and
`site_operators` of the site.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

SITE_FILE = "group_vars/all/site.yml"


def network(audience: str, variable: str, text: object) -> str:
    """Return a network, or a single address as one, in the form `address/prefix`.

    Raises AnsibleFilterError naming `variable` for anything else.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise AnsibleFilterError(
            f"{variable} {text!r}: the audience {audience} must be IPv4 networks or addresses; write for "
            f"instance 192.168.1.0/24 or 192.168.1.10 in {SITE_FILE}"
        ) from None


def audience_networks(
    audiences: Iterable[str], nodes: Iterable[Mapping[str, Any]], lan: str, operators: Iterable[str]
) -> list[dict[str, Any]]:
    """Return the networks that `audiences` (the `from` of a port) mean, each once.

    `nodes`: entries of `cluster_nodes`; `lan`: `site_network`; `operators`: `site_operators`.
    Entry: audience, node (its name, or None), network (`address/prefix`). Nodes come first, in the cluster's
    order; then `lan`, then `operators`, without what came before. `localhost` is no place on the network.
    Raises AnsibleFilterError for what is no network.
    """
    asked = list(audiences)
    if isinstance(operators, str | Mapping):
        raise AnsibleFilterError(
            f"site_operators {operators!r}: must be a list of networks or addresses; write "
            f"[{operators}] in {SITE_FILE}"
        )
    found = [
        {
            "audience": node["tier"],
            "node": node["name"],
            "network": network(node["tier"], f"address of {node['name']}", node["address"]),
        }
        for node in nodes
        if node["tier"] in asked
    ]
    sites = [("lan", "site_network", [lan]), ("operators", "site_operators", list(operators))]
    for audience, variable, texts in sites:
        if audience in asked:
            networks = [network(audience, variable, text) for text in texts]
            found += [{"audience": audience, "node": None, "network": one} for one in networks]
    first = {entry["network"]: entry for entry in reversed(found)}
    return [entry for entry in found if entry is first[entry["network"]]]


class FilterModule:
    """Ansible's entry point to this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return filter name -> function."""
        return {"audience_networks": audience_networks}
