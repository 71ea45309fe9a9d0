# SPDX-License-Identifier: Apache-2.0
"""What the gateway says of a service whose profile is not active."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..site.nodes import nodes_running, profiles_of


def asleep(nodes: Iterable[Mapping[str, Any]], service: str, title: str) -> str:
    """Return the sentence for a service that does not answer, with the command that starts it.

    An empty text where it does not depend on a profile, on one of its nodes at least.
    """
    found = [(node["name"], profiles_of(service, node)) for node in nodes_running(nodes, service)]
    if not found or not all(profiles for _, profiles in found):
        return ""
    where = ", and on ".join(f"{name} only in profile {' or '.join(profiles)}" for name, profiles in found)
    return f"{title} does not answer. It runs on {where}; to switch: make profile TO={found[0][1][0]}"
