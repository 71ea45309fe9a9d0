"""Renders a role's templates as the engine does, from a real inventory and secrets made up here."""

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import pytest
import yaml
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from site_description import ansible_plugins
from tree import ROOT, catalogue

SOURCES = {
    "production": ("inventory/groups.yml", "inventory/production.yml"),
    "lab": ("inventory/groups.yml", "inventory/lab"),
}
ROLES = ROOT / "roles"


@dataclass(frozen=True)
class Site:
    """An inventory, read once."""

    loader: DataLoader
    inventory: InventoryManager
    variables: VariableManager


@cache
def engine() -> ModuleType:
    """The controller's half of the engine, under another name than the node's half."""
    name = "stack_node_action"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / "action_plugins/stack_node.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


@cache
def site(inventory: str) -> Site:
    """Read `production` or `lab`."""
    ansible_plugins()
    loader = DataLoader()
    # As a run does: its plays are there, and the variables of the chosen inventory come last.
    loader.set_basedir(str(ROOT / "playbooks"))
    manager = InventoryManager(loader=loader, sources=[str(ROOT / source) for source in SOURCES[inventory]])
    variables = VariableManager(loader=loader, inventory=manager)
    HostVars(
        inventory=manager, variable_manager=variables, loader=loader
    )  # makes itself known to the manager
    return Site(loader, manager, variables)


def made_up_secrets() -> dict[str, str]:
    """One value for every secret of the catalogue, which is easy to find where it must not be."""
    names = {name for entry in catalogue().values() for name in entry["secrets"]}
    return {name: f"made-up-{name.replace('_', '-')}" for name in sorted(names)}


@cache
def cluster(inventory: str) -> list[dict[str, Any]]:
    """`cluster_nodes` of an inventory; copy it before changing it."""
    first = site(inventory).inventory.list_hosts("nodes")[0].name
    nodes: list[dict[str, Any]] = renderer(inventory, first).shared["cluster_nodes"]
    return nodes


def choose(monkeypatch: pytest.MonkeyPatch, **values: Any) -> dict[str, Any]:
    """Set variables of all hosts of production in one test; returns them for `overrides` (uncached)."""
    for name, value in values.items():
        monkeypatch.setitem(site("production").variables._extra_vars, name, value)
    return values


def hosts_running(service: str, inventory: str = "production") -> list[str]:
    """Inventory names of the nodes a service is placed on."""
    return [node["host"] for node in cluster(inventory) if service in node["services"]]


def renderer(inventory: str, host: str, overrides: Mapping[str, Any] | None = None) -> Any:
    """The engine's renderer for one host; without overrides the same one for all who ask."""
    return _renderer(inventory, host, overrides) if overrides else _plain_renderer(inventory, host)


@cache
def _plain_renderer(inventory: str, host: str) -> Any:
    return _renderer(inventory, host, {})


def _renderer(inventory: str, host: str, overrides: Mapping[str, Any]) -> Any:
    read = site(inventory)
    variables = read.variables.get_vars(host=read.inventory.get_host(host))
    variables |= {"site_secrets": made_up_secrets(), **overrides}
    return engine().Renderer(Templar(loader=read.loader, variables=variables), read.loader, variables, ROLES)


def render_role(
    role: str,
    inventory: str = "production",
    host: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    entry: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Target path -> text of every file of a role on a node.

    `host` is an inventory name, by default the first node that runs the service. `overrides` are variables
    that win over the inventory's; `entry` replaces keys of the service's catalogue entry on this node.
    """
    return {file.path: file.content.decode() for file in files_of(role, inventory, host, overrides, entry)}


def files_of(
    role: str,
    inventory: str = "production",
    host: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    entry: Mapping[str, Any] | None = None,
) -> list[Any]:
    """The same with mode and owner: the engine's `File` objects, sealed with their digest."""
    chosen = host or hosts_running(role, inventory)[0]
    if not overrides and not entry:
        return list(_as_placed(role, inventory, chosen))
    return _rendered(role, renderer(inventory, chosen, overrides), entry or {})


@cache
def _as_placed(role: str, inventory: str, host: str) -> tuple[Any, ...]:
    return tuple(_rendered(role, renderer(inventory, host), {}))


def _rendered(role: str, rendering: Any, entry: Mapping[str, Any]) -> list[Any]:
    node = rendering.shared["cluster_node"]
    extra: dict[str, Any] = {
        "stack_services": [name for name, placed in node["services"].items() if placed["image"]]
    }
    uid = 0
    if role in node["services"]:
        service = {**node["services"][role], **entry}
        extra |= {"service_name": role, "service": service}
        if service["image"]:
            mirror = rendering.shared["site_image_mirror"]
            extra["stack_service"] = engine().container_baseline(role, service, node, mirror)
        uid = int(service.get("uid", 0))
    files = rendering.files(role, rendering.variables(role, extra), uid)
    sealed, _ = engine().seal(files, role)
    return list(sealed)


def compose_of(role: str, **where: Any) -> dict[str, Any]:
    """The role's compose file, parsed; merge keys are resolved as compose does."""
    parsed: dict[str, Any] = yaml.load(
        render_role(role, **where)[f"/opt/aicluster/{role}/compose.yaml"], Loader=yaml.CSafeLoader
    )
    return parsed
