"""What the gateway says of a service whose profile is not active, and who switches to it."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..site.nodes import nodes_running, profiles_of, service_endpoints

# The service that switches the profile of its node for a request.
WAKE = "profile_wake"


def asleep(nodes: Iterable[Mapping[str, Any]], service: str, title: str) -> str:
    """Return the sentence for a service that does not answer, with the command that starts it.

    An empty text where it does not depend on a profile, on one of its nodes at least.
    """
    found = [(node["name"], profiles_of(service, node)) for node in nodes_running(nodes, service)]
    if not found or not all(profiles for _, profiles in found):
        return ""
    where = ", and on ".join(f"{name} only in profile {' or '.join(profiles)}" for name, profiles in found)
    return f"{title} does not answer. It runs on {where}; to switch: make profile TO={found[0][1][0]}"


def wake_ways(nodes: Iterable[Mapping[str, Any]], paths: Mapping[str, str]) -> list[dict[str, str]]:
    """Return {path, at} of each path at the gateway whose service a request can start.

    `paths`: path -> service. at: `address:port/profile` of the first node that switches by itself.
    """
    cluster, found = list(nodes), []
    at = {one["node"]: f"{one['address']}:{one['port']}" for one in service_endpoints(cluster, WAKE, "wake")}
    for path, service in paths.items():
        for node in nodes_running(cluster, service):
            if node["name"] in at and (profiles := profiles_of(service, node)):
                found.append({"path": path, "at": f"{at[node['name']]}/{profiles[0]}"})
                break
    return found
