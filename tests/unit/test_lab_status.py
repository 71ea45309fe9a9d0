"""The status table: what a node uses, and which of its services are up."""

import json

import pytest
from aicluster_lab import status

MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        pytest.param(
            {
                "usage": 100 * MEBIBYTE,
                "limit": 1024 * MEBIBYTE,
                "stats": {"total_inactive_file": 40 * MEBIBYTE},
            },
            "60 / 1024 MiB",
            id="cgroup v1: without the page cache",
        ),
        pytest.param(
            {"usage": 100 * MEBIBYTE, "limit": 1024 * MEBIBYTE, "stats": {"inactive_file": 30 * MEBIBYTE}},
            "70 / 1024 MiB",
            id="cgroup v2: without the page cache",
        ),
        pytest.param({}, "0 / 0 MiB", id="a node that just ended"),
    ],
)
def test_memory(stats, expected):
    assert status.memory_text(stats) == expected


def listed(name: str, state: str, text: str, service: str = "") -> str:
    labels = f"a=b,com.docker.compose.service={service}" if service else ""
    return json.dumps({"Names": name, "State": state, "Status": text, "Labels": labels})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        pytest.param([], "none", id="a bare node"),
        pytest.param(
            [
                listed("b-1", "running", "Up 2 minutes (healthy)", "redis"),
                listed("a-1", "running", "Up", "kong"),
            ],
            "kong, redis",
            id="services by their compose names, in order",
        ),
        pytest.param([listed("probe", "running", "Up")], "probe", id="a container of its own by its name"),
        pytest.param(
            [listed("a", "running", "Up 2 minutes (unhealthy)", "kong")],
            "kong (Up 2 minutes (unhealthy))",
            id="an unhealthy one with its state",
        ),
        pytest.param(
            [listed("a", "exited", "Exited (1) 5 seconds ago", "kong")],
            "kong (Exited (1) 5 seconds ago)",
            id="a dead one with its state",
        ),
    ],
)
def test_services(lines, expected):
    assert status.services_text("\n".join(lines)) == expected


def test_columns_are_aligned_under_their_headings():
    text = status.table([status.Row("PI51", "running", "198.18.77.147", "1 / 2 MiB", "kong, nginx")])
    heading, line = text.splitlines()
    assert heading.index("services") == line.index("kong")


@pytest.mark.parametrize(
    ("dropped", "expected"),
    [
        pytest.param(-1, "not set", id="without its rules"),
        pytest.param(0, "0 packets", id="nothing tried to leave"),
        pytest.param(7, "7 packets", id="something did: a wrong address somewhere"),
    ],
)
def test_the_firewall_says_what_it_dropped(dropped, expected):
    assert expected in status.firewall_text(dropped)
