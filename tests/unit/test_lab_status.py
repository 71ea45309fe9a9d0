"""The status table: what a node uses, and which of its services are up."""

import json

import pytest
from aicluster_lab import status


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
