"""Containers and the network of the lab: made as described, kept while the description holds, removed."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.models.resource import Model

from .errors import LabError
from .sitedata import PREFIX
from .subnet import BRIDGE

NETWORK = PREFIX
ROOT_LABEL = "aicluster.lab.root"
CONFIG_LABEL = "aicluster.lab.config"
TAKE_OVER = "AICLUSTER_LAB_TAKE_OVER"
"""Environment variable: set, a lab of another checkout that stands still is removed instead of refused."""
ALIVE = frozenset({"running", "paused", "restarting"})


@dataclass(frozen=True)
class Description:
    """One container on the lab network, in the words of the Engine API."""

    name: str
    image: str
    address: IPv4Address
    hostname: str
    host_config: Mapping[str, Any]
    """Fields of the API's HostConfig."""
    volume_at: str = ""
    """Where the container keeps its data: a volume with the container's name, gone when it is made anew."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the API's container configuration."""


def description_hash(description: Description, image_id: str) -> str:
    """Hash of everything a container is made from; a container with another one is made anew."""
    text = json.dumps([image_id, asdict(description)], sort_keys=True, default=str)
    return sha256(text.encode()).hexdigest()[:16]


class Containers:
    """The lab's containers on one engine."""

    def __init__(self, client: docker.DockerClient, root: Path) -> None:
        """Manage the containers of the checkout `root`."""
        self._client = client
        self._labels = {ROOT_LABEL: str(root)}

    def require_own(self, take_over: bool = False) -> None:
        """Refuse to touch the lab of another checkout; with `take_over`, remove it if none of it runs."""
        containers = self.all()
        owners = {self._owner(item) for item in [*containers, *self._networks(), *self._volumes()]}
        others = ", ".join(sorted(owners - {self._labels[ROOT_LABEL]}))
        if not others:
            return
        if take_over and not any(container.status in ALIVE for container in containers):
            self.remove_all()
            return
        raise LabError(
            f"A lab of another checkout is on this engine: {others}. They would share names and addresses. "
            f"Run `make lab-down` there first; if that checkout is gone, here: {TAKE_OVER}=1 make lab"
        )

    def has_network(self) -> bool:
        """Whether the lab's network is there, and with it perhaps connections into it."""
        return bool(self._networks())

    def all(self) -> list[Container]:
        """Every container of a lab, whatever its state."""
        return self._client.containers.list(all=True, filters={"label": ROOT_LABEL}, ignore_removed=True)

    def network(self, subnet: IPv4Network, gateway: IPv4Address) -> bool:
        """Make the lab network unless it is there as described. True if it was made."""
        for network in self._networks():
            config = (network.attrs["IPAM"]["Config"] or [{}])[0]
            if (config.get("Subnet"), config.get("Gateway")) == (str(subnet), str(gateway)):
                return False
            self.remove_all()
        pool = docker.types.IPAMPool(subnet=str(subnet), gateway=str(gateway))
        self._client.networks.create(
            NETWORK,
            driver="bridge",
            ipam=docker.types.IPAMConfig(pool_configs=[pool]),
            options={"com.docker.network.bridge.name": BRIDGE},
            labels=self._labels,
        )
        return True

    def create(self, description: Description) -> tuple[Container, bool]:
        """Make the container as described; an outdated one is replaced. Returns it, and whether it is new."""
        image_id = str(self._client.images.get(description.image).id)
        wanted = description_hash(description, image_id)
        try:
            container = self._client.containers.get(description.name)
        except NotFound:
            pass
        else:
            if ROOT_LABEL not in container.labels:
                raise LabError(
                    f"The lab needs the name {description.name}, which a container not the lab's has. "
                    f"Rename it (docker rename {description.name} other-name), then run this again."
                )
            if container.labels.get(CONFIG_LABEL) == wanted:
                return container, False
            container.remove(force=True, v=True)
        binds = [*description.host_config.get("Binds", []), *self._fresh_volume(description)]
        endpoint = self._client.api.create_endpoint_config(ipv4_address=str(description.address))
        api: Any = self._client.api  # the call that takes the Engine API's own words has no types
        created = api.create_container_from_config(
            {
                "Image": description.image,
                "Hostname": description.hostname,
                "Labels": {**self._labels, CONFIG_LABEL: wanted},
                "HostConfig": {**description.host_config, "Binds": binds, "NetworkMode": NETWORK},
                "NetworkingConfig": {"EndpointsConfig": {NETWORK: endpoint}},
                **description.config,
            },
            name=description.name,
        )
        return self._client.containers.get(created["Id"]), True

    def run_tool(self, image: str, command: list[str]) -> str:
        """Run a command in the engine's own network with the right to change it; returns its output."""
        tool = self._client.containers.create(
            image,
            command[1:],
            entrypoint=command[:1],
            network_mode="host",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            labels=self._labels,
        )
        try:
            tool.start()
            code = tool.wait()["StatusCode"]
            output = tool.logs().decode(errors="replace")
        finally:
            tool.remove(force=True, v=True)
        if code:
            raise LabError(f"`{command[0]}` ended with {code}: {output.strip()}")
        return output

    def remove_all(self) -> int:
        """Remove the lab's containers, volumes and network. Returns how many containers."""
        removed = self.remove_others(())
        for network in self._networks():
            network.remove()
        return len(removed)

    def remove_others(self, names: Collection[str]) -> list[str]:
        """Remove the lab's containers and volumes but those of these names; return the containers' names."""
        gone = [container for container in self.all() if container.name not in names]
        for container in gone:
            container.remove(force=True, v=True)
        for volume in self._volumes():
            if volume.name not in names:
                volume.remove()
        return sorted(str(container.name) for container in gone)

    def _fresh_volume(self, description: Description) -> list[str]:
        """Make the container's volume, empty; returns what binds it. Named, so that none is ever orphaned."""
        if not description.volume_at:
            return []
        for volume in self._volumes():
            if volume.name == description.name:
                volume.remove()
        self._client.volumes.create(description.name, labels=self._labels)
        return [f"{description.name}:{description.volume_at}"]

    def _volumes(self) -> list[Any]:
        return self._client.volumes.list(filters={"label": ROOT_LABEL})

    def _networks(self) -> list[Any]:
        return self._client.networks.list(filters={"label": ROOT_LABEL})

    @staticmethod
    def _owner(item: Model) -> str:
        labels = item.attrs.get("Labels") or item.attrs.get("Config", {}).get("Labels") or {}
        return str(labels.get(ROOT_LABEL, "unknown"))


def wake(container: Container) -> bool:
    """Start a container that is stopped, continue one that is paused. True if it had to."""
    container.reload()
    if container.status == "running":
        return False
    if container.status == "paused":
        container.unpause()
    else:
        container.start()
    return True


def exec_output(container: Container, command: list[str]) -> str:
    """Standard output of a command run in the container, whatever its exit code."""
    output = container.exec_run(command, stderr=False).output
    return output.decode(errors="replace") if isinstance(output, bytes) else ""
