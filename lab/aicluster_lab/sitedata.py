"""What the inventory says about the lab. Nothing here is decided by the lab itself."""

import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from cluster_nodes import placement, service_entry

from .errors import LabError

INVENTORY = ("-i", "inventory/groups.yml", "-i", "inventory/lab")
PREFIX = "aicluster-lab"
HTTP_PORT = 80


@dataclass(frozen=True)
class Node:
    """One lab node: what its container must look like."""

    name: str
    address: IPv4Address
    board: str
    memory_mb: int

    @property
    def container(self) -> str:
        """Name of the node's container."""
        return f"{PREFIX}-{self.name}"


@dataclass(frozen=True)
class Site:
    """The lab as the inventory describes it."""

    root: Path
    network: IPv4Network
    router: IPv4Address
    registry: tuple[IPv4Address, int]
    nodes: tuple[Node, ...]
    images: tuple[str, ...]
    """Every image name:tag a placed service uses."""
    gateway_url: str
    secrets_file: Path

    @property
    def state(self) -> Path:
        """Folder of everything the lab writes and `down` removes."""
        return self.root / ".lab"

    @property
    def cache(self) -> Path:
        """Folder of the build cache, which `down` keeps."""
        return self.root / ".cache"

    @property
    def private_key(self) -> Path:
        """The ssh key that opens every node."""
        return self.state / "ssh" / "id_ed25519"


def ansible(root: Path, tool: str) -> str:
    """Path of an Ansible command of the project's own environment."""
    path = root / ".venv" / "bin" / tool
    if not path.exists():
        raise LabError(
            f"{path} does not exist: the lab uses the project's own Ansible. Run `make setup` first."
        )
    return str(path)


def load_site(root: Path) -> Site:
    """Read the lab inventory of the checkout `root`.

    Raises LabError if Ansible cannot read it or something the lab needs is missing.
    """
    command = [ansible(root, "ansible-inventory"), *INVENTORY, "--list"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode:
        raise LabError(f"The lab inventory cannot be read:\n{result.stderr.strip()}")
    return site_from_inventory(root, json.loads(result.stdout))


def site_from_inventory(root: Path, inventory: Mapping[str, Any]) -> Site:
    """Turn the output of `ansible-inventory --list` into a Site.

    Raises LabError naming the host and the variable that is missing.
    """
    hostvars: Mapping[str, Mapping[str, Any]] = inventory["_meta"]["hostvars"]
    hosts = [host for host in inventory.get("lab", {}).get("hosts", []) if host in hostvars]
    if not hosts:
        raise LabError("inventory/lab/hosts.yml has no host in the group `lab`: the lab has no node to make.")
    common = hostvars[hosts[0]]
    registry = _need(common, "site_image_mirror", hosts[0]).partition("/")[0].partition(":")
    nodes = tuple(_node(host, hostvars[host]) for host in hosts)
    services = [service for host in hosts for service in placed_services(hostvars[host], host)]
    site = Site(
        root=root,
        network=IPv4Network(_need(common, "site_network", hosts[0])),
        router=IPv4Address(_need(common, "site_router", hosts[0])),
        registry=(IPv4Address(registry[0]), int(registry[2] or HTTP_PORT)),
        nodes=nodes,
        images=_unique(service["image"] for service in services if service["image"]),
        gateway_url=_gateway_url(inventory.get("gateway", {}).get("hosts", []), hostvars),
        secrets_file=root / ".lab" / "secrets.yml",
    )
    _require_addresses_inside(site)
    return site


def placed_services(variables: Mapping[str, Any], host: str) -> list[dict[str, Any]]:
    """Catalogue entries of the services a host runs, with the tier's overrides, in order of placement."""
    catalogue: Mapping[str, Any] = variables.get("service_catalogue", {})
    try:
        services = placement(host, variables)
    except AnsibleFilterError as error:
        raise LabError(str(error)) from None
    unknown = services.keys() - catalogue.keys()
    if unknown:
        raise LabError(
            f"{host}: node_services names `{min(unknown)}`, which is not in service_catalogue. "
            "Correct the name in group_vars/<tier>/services.yml or add the service to the catalogue."
        )
    return [
        service_entry(catalogue[name], overrides, None) | {"name": name}
        for name, overrides in services.items()
    ]


def _node(host: str, variables: Mapping[str, Any]) -> Node:
    return Node(
        name=_need(variables, "node_name", host),
        address=IPv4Address(host),
        board=_need(variables, "node_board", host),
        memory_mb=int(_need(variables, "node_memory_mb", host)),
    )


def _need(variables: Mapping[str, Any], name: str, host: str) -> str:
    if name not in variables:
        raise LabError(
            f"{host}: the variable {name} is missing. Add it to the lab's group_vars or host_vars."
        )
    return str(variables[name])


def _gateway_url(gateways: list[str], hostvars: Mapping[str, Mapping[str, Any]]) -> str:
    for host in gateways:
        for service in placed_services(hostvars[host], host):
            if service["name"] == "nginx":
                port = service["ports"]["http"]["port"]
                return f"http://{host}" if port == HTTP_PORT else f"http://{host}:{port}"
    raise LabError("No host of the group `gateway` runs nginx: place it in group_vars/gateway/services.yml.")


def _require_addresses_inside(site: Site) -> None:
    addresses = {node.name: node.address for node in site.nodes}
    addresses |= {"site_router": site.router, "site_image_mirror": site.registry[0]}
    outside = [f"{name} {address}" for name, address in addresses.items() if address not in site.network]
    if outside:
        raise LabError(
            f"Outside the lab network site_network {site.network}: {', '.join(outside)}. "
            "Give them addresses inside it, in inventory/lab/."
        )


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
