# SPDX-License-Identifier: Apache-2.0
"""Who reaches a port, and where: what its `from` means on the network.

Source: `from` of a port of the catalogue, the nodes in `cluster_nodes`, and `site_network` and
`site_operators` of the site.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SiteError

SITE_FILE = "group_vars/all/site.yml"


def listens_on(port: Mapping[str, Any], address: str) -> str | None:
    """Return the address a port of the catalogue is published at; None where nobody may reach it."""
    audience = list(port.get("from") or [])
    if not audience:
        return None
    return "127.0.0.1" if audience == ["localhost"] else address


def is_open(port: Mapping[str, Any], audience: str) -> bool:
    """Tell whether a tier, or the operators, may reach a port; all of them are on the LAN."""
    return not {audience, "lan"}.isdisjoint(port["from"])


def network(audience: str, variable: str, text: object) -> str:
    """Return a network, or a single address as one, in the form `address/prefix`.

    Raises SiteError naming `variable` for anything else.
    """
    try:
        if not isinstance(text, str):
            raise ValueError
        return str(ipaddress.IPv4Network(text))
    except ValueError:
        raise SiteError(
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
    Raises SiteError for what is no network.
    """
    asked = list(audiences)
    if isinstance(operators, str | Mapping):
        raise SiteError(
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
