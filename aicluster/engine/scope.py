"""How much of a node a run is about: all of it, or one role alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from ..errors import SiteError

HOST_ROLES = ("base", "docker_engine")
STACK_ROLE = "stack"


@dataclass(frozen=True)
class Scope:
    """The role a run is about, "" for the whole node; `there`: the services the node has already."""

    only: str = ""
    there: tuple[str, ...] = ()

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any]) -> Self:
        """Return the scope a plan was made for."""
        said = plan.get("scope", {})
        return cls(said.get("only", ""), tuple(said.get("there", ())))

    def roles(self, node: Mapping[str, Any]) -> set[str]:
        """Return the roles whose work is done; a service comes with the project file that includes it."""
        if not self.only:
            return {*HOST_ROLES, *node["services"], STACK_ROLE}
        return {self.only, STACK_ROLE} if self.only in node["services"] else {self.only}

    def reduced(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the node with no more services than it has afterwards."""
        if not self.only:
            return node
        kept = {*self.there, self.only}
        return {**node, "services": {name: entry for name, entry in node["services"].items() if name in kept}}

    def seen(self, actual: dict[str, Any]) -> dict[str, Any]:
        """Return the differences of an inspection that are this run's: what others brought stays."""
        return {**actual, "leftover": [], "orphans": []} if self.only else actual


WHOLE_NODE = Scope()


def refuse_misplaced(only: str, node: Mapping[str, Any], cluster: Sequence[Mapping[str, Any]]) -> None:
    """Raise SiteError for a service that is not placed on the node."""
    if not only or only in HOST_ROLES or only in node["services"]:
        return
    hosts = [other["name"] for other in cluster if only in other["services"]]
    run = f", or run this on {' or '.join(hosts)}" if hosts else ""
    raise SiteError(
        f"service {only} is not placed on {node['name']}: must be on its placement list; add `- {only}` to "
        f"node_services in group_vars/{node['tier']}/services.yml{run}"
    )
