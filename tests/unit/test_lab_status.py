"""The status table: what a node uses, and which of its services are up."""

import json

import pytest
from aicluster_lab import status

MEBIBYTE = 1 << 20


@pytest.mark.parametrize(("cache", "expected"), [
    pytest.param({"total_inactive_file": 40 * MEBIBYTE}, "60 / 1024 MiB", id="cgroup v1: no page cache"),
    pytest.param({"inactive_file": 30 * MEBIBYTE}, "70 / 1024 MiB", id="cgroup v2: no page cache"),
])  # fmt: skip
def test_memory(cache, expected):
    assert status.memory_text({"usage": 100 * MEBIBYTE, "limit": 1 << 30, "stats": cache}) == expected
    assert status.memory_text({}) == "0 / 0 MiB", "a node that just ended"


def listed(name: str, state: str, text: str, service: str = "") -> str:
    labels = f"a=b,com.docker.compose.service={service}" if service else ""
    return json.dumps({"Names": name, "State": state, "Status": text, "Labels": labels})


@pytest.mark.parametrize(("lines", "expected"), [
    pytest.param([], "none", id="a bare node"),
    pytest.param([listed("b", "running", "Up (healthy)", "redis"), listed("a", "running", "Up", "kong")],
        "kong, redis", id="services by their compose names, in order"),
    pytest.param([listed("probe", "running", "Up")], "probe", id="a container of its own by its name"),
    pytest.param([listed("a", "running", "Up (unhealthy)", "kong")], "kong (Up (unhealthy))",
        id="an unhealthy one"),
    pytest.param([listed("a", "exited", "Exited (1)", "kong")], "kong (Exited (1))", id="a dead one"),
])  # fmt: skip
def test_services(lines, expected):
    assert status.services_text("\n".join(lines)) == expected
