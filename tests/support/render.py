"""Renders a role's templates as the engine does, from a real inventory and secrets made up here."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import filter_loader, init_plugin_loader, lookup_loader
from ansible.template import Templar, trust_as_template
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from tree import ROOT, catalogue

from aicluster.engine.desired import role_variables
from aicluster.engine.files import File, seal
from aicluster.engine.rendering import Renderer
from aicluster.gateway.certificates import new_ca_secret
from aicluster.gateway.users import user_secrets
from aicluster.site.nodes import nodes_running
from aicluster.site.relations import CA_SECRET

SOURCES = {
    "production": ("inventory/groups.yml", "inventory/production.yml"),
    "lab": ("inventory/groups.yml", "inventory/lab"),
}
ROLES = ROOT / "roles"


@dataclass(frozen=True)
class Site:
    loader: DataLoader
    inventory: InventoryManager
    variables: VariableManager
    hostvars: HostVars


@cache
def ansible_plugins() -> None:
    """Make Ansible's plugins and this project's filters and lookups loadable, once per process."""
    init_plugin_loader()
    filter_loader.add_directory(str(ROOT / "filter_plugins"))
    lookup_loader.add_directory(str(ROOT / "lookup_plugins"))


@cache
def site(inventory: str) -> Site:
    ansible_plugins()
    loader = DataLoader()
    # As a run does: its plays are there, and the variables of the chosen inventory come last.
    loader.set_basedir(str(ROOT / "playbooks"))
    manager = InventoryManager(loader=loader, sources=[str(ROOT / source) for source in SOURCES[inventory]])
    variables = VariableManager(loader=loader, inventory=manager)
    hostvars = HostVars(inventory=manager, variable_manager=variables, loader=loader)
    return Site(loader, manager, variables, hostvars)


@cache
def made_up_ca() -> str:
    """The secret of a CA that was made in May."""
    return new_ca_secret(datetime(2026, 5, 20, tzinfo=UTC))


def made_up_secrets() -> dict[str, str]:
    """One value for every secret of the catalogue, which is easy to find where it must not be."""
    names = {name for entry in catalogue().values() for name in entry["secrets"]}
    made = {name: f"made-up-{name.replace('_', '-')}" for name in sorted(names)}
    return made | {CA_SECRET: made_up_ca()}


@cache
def cluster(inventory: str) -> list[dict[str, Any]]:
    """`cluster_nodes` of an inventory; copy it before changing it."""
    first = site(inventory).inventory.list_hosts("nodes")[0].name
    nodes: list[dict[str, Any]] = renderer(inventory, first).shared["cluster_nodes"]
    return nodes


def moved(service: str, name: str, **changed: Any) -> dict[str, Any]:
    """`overrides` of a production whose service runs on the node `name` alone; `changed` is of its entry."""
    nodes = deepcopy(cluster("production"))
    entry, *_ = [node["services"].pop(service) for node in nodes_running(nodes, service)]
    entry.pop("replication", None)
    next(node for node in nodes if node["name"] == name)["services"][service] = entry | changed
    return {"cluster_nodes": nodes}


def without(*services: str, on: Sequence[str] = ()) -> dict[str, Any]:
    """`overrides` of a production without these services, on these nodes or on all."""
    nodes = deepcopy(cluster("production"))
    for node in nodes:
        if not on or node["name"] in on:
            node["services"] = {name: one for name, one in node["services"].items() if name not in services}
    return {"cluster_nodes": nodes}


def waking() -> dict[str, Any]:
    """`overrides` of a production whose nodes switch their profiles for requests."""
    nodes = deepcopy(cluster("production"))
    for node in nodes:
        if node["profiles"]:
            node["services"]["profile_wake"] = dict(catalogue()["profile_wake"])
    return {"cluster_nodes": nodes}


def with_users(*users: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """`overrides` of a site with these users of the gateway; the key of anna is `made-up-user-anna-main`."""
    secrets = {name: f"made-up-{name.replace('_', '-').replace('/', '-')}" for name in user_secrets([*users])}
    return {"site_users": list(users), "site_secrets": made_up_secrets() | secrets, **more}


def choose(monkeypatch: pytest.MonkeyPatch, **values: Any) -> dict[str, Any]:
    """Set variables of all hosts of production in one test; returns them for `overrides` (uncached)."""
    cluster("production")  # What is cached is of the inventory alone, whichever test asks first.
    for name, value in values.items():
        monkeypatch.setitem(site("production").variables._extra_vars, name, value)
    return values


def hosts_running(service: str, inventory: str = "production") -> list[str]:
    """Inventory names of the nodes a service is placed on; a standby comes last."""
    return [node["host"] for node in nodes_running(cluster(inventory), service)]


def renderer(inventory: str, host: str, overrides: Mapping[str, Any] | None = None) -> Renderer:
    """The engine's renderer for one host; without overrides the same one for all who ask."""
    return _renderer(inventory, host, overrides) if overrides else _plain_renderer(inventory, host)


@cache
def _plain_renderer(inventory: str, host: str) -> Renderer:
    return _renderer(inventory, host, {})


def _renderer(inventory: str, host: str, overrides: Mapping[str, Any]) -> Renderer:
    read = site(inventory)
    variables = read.variables.get_vars(host=read.inventory.get_host(host))
    # Made up, too, as they follow from a vault.
    copy = {"site_key": "made-up-site-key", "site_archive": "made-up-archive"}
    variables |= {"site_secrets": made_up_secrets(), **copy, **overrides}
    templar = Templar(loader=read.loader, variables=variables)
    return Renderer(templar, read.loader, trust_as_template, variables, ROLES, {})


def render_role(*what: Any, **where: Any) -> dict[str, str]:
    """Target path -> text of every file of a role on a node; see `files_of`."""
    return {file.path: file.content.decode() for file in files_of(*what, **where)}


def files_of(
    role: str,
    inventory: str = "production",
    host: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    entry: Mapping[str, Any] | None = None,
) -> list[File]:
    """Every file of a role on a node, with mode and owner, sealed with their digest.

    `host` is an inventory name, by default the first node that runs the service. `overrides` are variables
    that win over the inventory's; `entry` replaces keys of the service's catalogue entry on this node.
    """
    chosen = host or hosts_running(role, inventory)[0]
    if not overrides and not entry:
        return list(_as_placed(role, inventory, chosen))
    return _rendered(role, renderer(inventory, chosen, overrides), entry or {})


@cache
def _as_placed(role: str, inventory: str, host: str) -> tuple[File, ...]:
    return tuple(_rendered(role, renderer(inventory, host), {}))


def _rendered(role: str, rendering: Renderer, entry: Mapping[str, Any]) -> list[File]:
    node = rendering.shared["cluster_node"]
    if role in node["services"]:
        node = {**node, "services": {**node["services"], role: {**node["services"][role], **entry}}}
    uid = int(node["services"].get(role, {}).get("uid", 0))
    added = role_variables(role, node, rendering.shared["site_image_mirror"])
    files, _ = seal(rendering.files(role, rendering.variables(role, added), uid), role)
    return files


def compose_of(role: str, **where: Any) -> dict[str, Any]:
    """The role's compose file, parsed; merge keys are resolved as compose does."""
    parsed: dict[str, Any] = yaml.load(
        render_role(role, **where)[f"/opt/aicluster/{role}/compose.yaml"], Loader=yaml.CSafeLoader
    )
    return parsed


def container(service: str, **where: Any) -> dict[str, Any]:
    found: dict[str, Any] = compose_of(service, **where)["services"][service]
    return found
