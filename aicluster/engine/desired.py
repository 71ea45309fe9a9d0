"""The desired state of one node: what its roles render and declare, put together."""

import hashlib
import json
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..backup.jobs import has_data
from ..backup.stores import BACKUP
from ..errors import SiteError
from ..site.addresses import listens_on
from ..site.containers import addresses_of, compose_networks
from ..site.firewall import FIREWALL
from ..site.nodes import profiles_of
from ..site.vocabulary import YAML_LOADER
from .declared import rules_of, strangers
from .files import DIGEST_TOKEN, STACK_ROOT, File, apply_rule, rule_for, seal
from .rendering import Renderer, refuse
from .scope import HOST_ROLES, STACK_ROLE, WHOLE_NODE, Scope

DIGEST_LABEL = "aicluster.digest"
ENGINE_ROLE = "docker_engine"
# Expressions over variables of the role stack: what disk and memory a node must have.
SETTINGS = {
    "disk_floor_mb": "stack_disk_floor_mb | int",
    "disk_budget": "stack_disk_budget | bool",
    "memory_budget": "stack_memory_budget | bool",
}


@dataclass
class Desired:
    """Desired state of one node."""

    files: list[File] = field(default_factory=list)
    packages: list[str] = field(default_factory=list)
    units: list[dict[str, Any]] = field(default_factory=list)
    containers: dict[str, str] = field(default_factory=dict)
    container_owner: dict[str, str] = field(default_factory=dict)
    container_profiles: dict[str, list[str]] = field(default_factory=dict)
    # What checks the files of a container, and how it reads them again: `check`, `reload`, `confirm`.
    programs: dict[str, dict[str, str]] = field(default_factory=dict)
    profile: str | None = None
    # Services that are backed up before their image changes.
    kept: list[str] = field(default_factory=list)
    # Services whose image a rollback put back: it keeps what is known of them.
    pinned: list[str] = field(default_factory=list)
    # Image of each container, and the volumes a service keeps data in.
    images: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, list[str]] = field(default_factory=dict)
    # What the node must have below them; see `limits_of`.
    limits: dict[str, Any] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    # What sets up a running service: its `provision`, with a digest of what that depends on.
    provisions: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Project files of services that are there and not this run's: compose reads them with the others.
    others: list[str] = field(default_factory=list)

    @property
    def probes(self) -> dict[str, str]:
        """Return service -> the file or page of the node that its provisioning depends on."""
        return {service: one["probe"] for service, one in self.provisions.items() if "probe" in one}


def published_ports(ports: Mapping[str, Mapping[str, Any]], address: str) -> list[str]:
    """Compose port lines; a port nobody may reach is not published, `localhost` binds to loopback."""
    lines = []
    for port in ports.values():
        if host := listens_on(port, address):
            lines.append(f"{host}:{port['port']}:{port.get('container', port['port'])}")
    return lines


def container_baseline(
    name: str, entry: Mapping[str, Any], node: Mapping[str, Any], mirror: str
) -> dict[str, Any]:
    """Compose keys every service's main container starts from; a service's own keys override them."""
    image = f"{mirror.rstrip('/')}/{entry['image']}" if mirror else str(entry["image"])
    baseline: dict[str, Any] = {
        "image": image,
        "restart": "unless-stopped",
        "labels": {"aicluster.service": name, DIGEST_LABEL: DIGEST_TOKEN},
        "security_opt": ["no-new-privileges:true"],
        "cap_drop": ["ALL"],
        "read_only": True,
        "tmpfs": ["/tmp:rw,noexec,nosuid,size=64m"],
        "pids_limit": 256,
        "mem_limit": f"{entry['memory_mb']}m",
        "memswap_limit": f"{entry['memory_mb']}m",
        "logging": {"driver": "journald", "options": {"tag": "{{.Name}}"}},
        # The firewall knows containers by their addresses.
        "networks": {
            network: {"ipv4_address": address} for network, address in addresses_of(name, node).items()
        },
    }
    if uid := entry.get("uid"):
        baseline["user"] = f"{uid}:{uid}"
    if health := entry.get("health"):
        baseline["healthcheck"] = {
            "test": list(health["test"]),
            "interval": f"{health['interval_s']}s",
            "timeout": f"{health['timeout_s']}s",
            "retries": health["retries"],
            "start_period": f"{health['start_s']}s",
        }
        if node["health_start_interval_s"]:
            baseline["healthcheck"]["start_interval"] = f"{node['health_start_interval_s']}s"
    if ports := published_ports(entry.get("ports", {}), node["address"]):
        baseline["ports"] = ports
    if profiles := profiles_of(name, node):
        baseline["profiles"] = profiles
    return baseline


def compose_project(files: Iterable[File], service: str) -> tuple[dict[str, str], list[str]]:
    """Return what a service's compose file names: container -> image, and its volumes.

    Raises SiteError when the file is missing or is not the YAML compose expects.
    """
    path = f"{STACK_ROOT}/{service}/compose.yaml"
    content = next((f.content for f in files if f.path == path), None)
    if content is None:
        raise SiteError(
            f"service {service}: no template renders {path}; add roles/{service}/templates{path}.j2"
        )
    try:
        project = yaml.load(content, Loader=YAML_LOADER)
        images = {str(name): str(keys["image"]) for name, keys in project["services"].items()}
        return images, list(project.get("volumes") or ())
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise SiteError(f"service {service}: {path} is not a compose file: {error}") from error


def limits_of(
    node: Mapping[str, Any], engine: Mapping[str, Any], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a node must have before its services are deployed.

    `engine`: what the role docker_engine declares; `settings`: the values of SETTINGS.
    """
    return {
        "engine": engine["engine"],
        "engine_packages": engine.get("packages", []),
        "disk_gb": {service: entry.get("disk_gb") or 0 for service, entry in node["services"].items()},
        "one_major": [service for service, entry in node["services"].items() if entry.get("one_major")],
        "disk_reserved_gb": node["disk_reserved_gb"] or 0,
        "disk_floor_mb": settings["disk_floor_mb"],
        "disk_budget": settings["disk_budget"],
        "architecture": node["architecture"],
        "memory_mb": node["memory_mb"] if settings["memory_budget"] else None,
    }


def role_variables(role: str, node: Mapping[str, Any], mirror: str) -> dict[str, Any]:
    """Return what the engine adds to the variables of a role on a node."""
    services: Mapping[str, Any] = node["services"]
    added: dict[str, Any] = {
        "stack_services": [name for name, entry in services.items() if entry["image"]],
        "stack_networks": compose_networks(node),
    }
    if role in services:
        added |= {"service_name": role, "service": services[role]}
    if role in added["stack_services"]:
        added["stack_service"] = container_baseline(role, services[role], node, mirror)
    return added


def desired_state(
    renderer: Renderer, scope: Scope = WHOLE_NODE
) -> tuple[Desired, dict[str, ChainMap[str, Any]]]:
    """Return the node's desired state, as far as `scope` goes, and the variables of each of its services."""
    node, mirror = renderer.shared["cluster_node"], renderer.shared["site_image_mirror"]
    reduced = scope.reduced(node)
    cluster = [
        reduced if other["host"] == node["host"] else other for other in renderer.shared["cluster_nodes"]
    ]
    desired, variables, declared = Desired(profile=node["profile"]), {}, {}
    for role in (*HOST_ROLES, *node["services"], STACK_ROLE):
        added = role_variables(role, reduced if role == STACK_ROLE else node, mirror)
        if role == STACK_ROLE:
            # All networks: a service may join that of one that is not this run's.
            added |= {
                "cluster_node": reduced,
                "cluster_nodes": cluster,
                "stack_networks": compose_networks(node),
            }
        variables[role] = renderer.variables(role, added)
        state = renderer.state(role, variables[role])
        declared[role] = state
        if role not in scope.roles(node):
            if role in scope.there:
                desired.others += [file.path for file in renderer.files(role, variables[role], 0)]
            continue
        rules = rules_of(state)
        uid = int(node["services"].get(role, {}).get("uid", 0))
        files = [
            apply_rule(file, rule_for(file.path, rules))
            for file in renderer.files(role, variables[role], uid)
        ]
        if role in node["services"]:
            files, digest = add_service(desired, role, node, files, state)
            if "provision" in state:
                desired.provisions[role] = provisioning(digest, state["provision"])
        desired.files += files
        desired.rules.update(rules)
        desired.programs.update(state.get("containers", {}))
        desired.packages += state.get("packages", [])
        desired.units += state.get("units", [])
    desired.pinned = [service for service, entry in node["services"].items() if "pinned_from" in entry]
    if BACKUP in variables and renderer.value("backup_before_change | bool", variables[BACKUP]):
        desired.kept = [service for service, entry in node["services"].items() if has_data(entry)]
    settings = {key: renderer.value(said, variables[STACK_ROLE]) for key, said in SETTINGS.items()}
    desired.limits = limits_of(reduced, declared[ENGINE_ROLE], settings)
    if FIREWALL in scope.roles(node):
        desired.limits["firewall"] = renderer.value("__firewall_limits", variables[FIREWALL])
    if desired.containers and scope.only:
        # Whether there is an engine at all; what it is like is the business of its own role.
        desired.units += declared[ENGINE_ROLE].get("units", [])
    return desired, {service: variables[service] for service in node["services"]}


def add_service(
    desired: Desired, service: str, node: Mapping[str, Any], files: Sequence[File], state: Mapping[str, Any]
) -> tuple[list[File], str]:
    """Add a service's containers and what it declares; return its files, sealed, and their digest."""
    sealed, digest = seal(files, service)
    contained = node["services"][service]["image"]
    images, desired.volumes[service] = compose_project(sealed, service) if contained else ({}, [])
    refuse(strangers(service, state, images))
    for container, image in images.items():
        desired.containers[container] = digest
        desired.container_owner[container] = service
        desired.images[container] = image
        if profiles := profiles_of(service, node):
            desired.container_profiles[container] = profiles
    return sealed, digest


def provisioning(digest: str, provision: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a service says of its provisioning, with a digest of its files and inputs."""
    # With its files: a run that died between a container and its provisioning is made up for.
    inputs = json.dumps([digest, provision.get("inputs", {})], sort_keys=True)
    return {**provision, "digest": hashlib.sha256(inputs.encode()).hexdigest()[:16]}
