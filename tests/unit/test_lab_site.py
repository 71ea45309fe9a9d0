"""The lab takes everything from the inventory: no address, image or secret is written twice."""

from pathlib import Path
from typing import Any

import pytest
from aicluster_lab import sitedata
from aicluster_lab.errors import LabError
from tree import ROOT

GATEWAY, BACKEND = "198.18.77.147", "198.18.77.247"
NGINX = {"image": "nginx:1", "ports": {"http": {"port": 80}}}
SITE = {
    "site_network": "198.18.77.0/24", "site_router": "198.18.77.1", "site_image_mirror": "198.18.77.2:5000",
}  # fmt: skip


def node(address: str, name: str, tier: str, services: dict[str, Any]) -> dict[str, Any]:
    """A node as Ansible resolves it."""
    return {
        "host": address, "address": address, "name": name, "tier": tier, "services": services,
        "memory_mb": 8192,
    }  # fmt: skip


def answer(services: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Two nodes; `services` are those of the gateway, `changes` apply to the site or else to it."""
    own = {"nginx": NGINX, "redis": {"image": "redis:1"}, "native": {"image": None}}
    of_the_node = {name: value for name, value in changes.items() if name not in SITE}
    gateway = node(GATEWAY, "PI51", "gateway", services or own) | of_the_node
    backend = node(BACKEND, "PI52", "backend", {"redis": {"image": "redis:2"}})
    of_the_site = {name: value for name, value in changes.items() if name in SITE}
    return {"nodes": [gateway, backend], "lab": [GATEWAY, BACKEND], **SITE, **of_the_site}


def site(services: dict[str, Any] | None = None, **changes: Any) -> sitedata.Site:
    return sitedata.site_from(Path("/checkout"), answer(services, **changes))


@pytest.mark.parametrize(("changes", "message"), [
    pytest.param({"memory_mb": None}, "198.18.77.147: .*node_memory_mb is missing",
        id="a node without memory"),
    pytest.param({"services": {"redis": {"image": "redis:1"}}}, "No host of the group `gateway` runs nginx",
        id="no ingress"),
    pytest.param({"site_router": "10.0.0.1"}, "site_router 10.0.0.1.*inside it", id="a router elsewhere"),
    pytest.param({"site_image_mirror": "10.0.0.2:5000"}, "site_image_mirror 10.0.0.2",
        id="a registry elsewhere"),
])  # fmt: skip
def test_what_is_wrong_is_named(changes, message):
    with pytest.raises(LabError, match=message):
        site(**changes)


def test_the_projects_own_lab_inventory_describes_seven_nodes():
    found = sitedata.load_site(ROOT)
    assert [node.name for node in found.nodes] == ["PI51", "AGX0", "ORIN0", "PI52", "PI41", "NANO", "PI31"]
    assert found.secrets_file == ROOT / ".lab" / "secrets.yml"
