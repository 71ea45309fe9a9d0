"""What the inventory says about the lab is refused where no lab can be made of it."""

from pathlib import Path
from typing import Any

import pytest
from aicluster_lab import sitedata
from aicluster_lab.errors import LabError

HOST = "198.18.77.147"
NODE: dict[str, Any] = {
    "host": HOST, "address": HOST, "name": "PI51", "tier": "gateway", "memory_mb": 8192,
    "services": {"nginx": {"image": "nginx:1", "ports": {"http": {"port": 80}}}, "native": {"image": None}},
}  # fmt: skip
SITE = {
    "lab": [HOST], "site_network": "198.18.77.0/24", "site_router": "198.18.77.1",
    "site_image_mirror": "198.18.77.2:5000",
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), [
    pytest.param({"memory_mb": None}, "198.18.77.147: .*node_memory_mb is missing",
        id="a node without memory"),
    pytest.param({"services": {}}, "No host of the group `gateway` runs nginx", id="no ingress"),
    pytest.param({"site_router": "10.0.0.1"}, "site_router 10.0.0.1.*inside it", id="a router elsewhere"),
    pytest.param({"site_image_mirror": "10.0.0.2:5000"}, "site_image_mirror 10.0.0.2",
        id="a registry elsewhere"),
])  # fmt: skip
def test_what_is_wrong_is_named(changes, message):
    assert sitedata.site_from(Path("/checkout"), {"nodes": [NODE], **SITE}).images == ("nginx:1",)
    with pytest.raises(LabError, match=message):
        sitedata.site_from(Path("/checkout"), {"nodes": [NODE | changes], **SITE, **changes})
