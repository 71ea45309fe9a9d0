"""node_budget: what a node has, what is planned there, and what cannot work."""

from typing import Any

import pytest

from aicluster.budget.nodes import node_budget


def service(memory_mb: Any = 100, disk_gb: Any = 1, **more: Any) -> dict[str, Any]:
    return {"image": "x:1.0", "architectures": ["arm64"], "memory_mb": memory_mb, "disk_gb": disk_gb, **more}


def node(services: dict[str, Any], **more: Any) -> dict[str, Any]:
    board = {"memory_mb": 2048, "memory_reserved_mb": 350, "disk_gb": 100, "disk_reserved_gb": 8}
    return {"name": "PI41", "ssh_port": 22, "architecture": "arm64", **board, "services": services, **more}


def account(services: dict[str, Any], **more: Any) -> dict[str, Any]:
    return node_budget([node(services, **more)])[0]


def test_the_account_adds_up_what_is_reserved_and_what_the_services_may_use():
    assert account({"a": service(500, 10), "b": service(200, 20)}) == {
        "node": "PI41",
        "memory_mb": 2048,
        "memory_planned_mb": 1050,
        "memory_free_mb": 998,
        "disk_gb": 100,
        "disk_planned_gb": 38,
        "disk_free_gb": 62,
        "problems": [],
    }


@pytest.mark.parametrize("more", [
    pytest.param({"memory_mb": None}, id="a size nobody gave"),
    pytest.param({"services": {"a": service("512m")}}, id="a service with a unit in its size"),
])  # fmt: skip
def test_a_sum_with_an_unusable_number_is_unknown_and_the_other_is_not(more):
    result = node_budget([node({}) | more])[0]
    assert result["memory_mb"] is result["memory_planned_mb"] is result["memory_free_mb"] is None
    assert result["disk_gb"] == 100
    assert result["problems"] == []


BOARD = {"web": service(100), "chat": service(1000, 10), "paint": service(1500, 20)}


def test_memory_is_that_of_the_hungriest_profile_and_disk_that_of_all_services():
    figures = account(BOARD, profiles={"llm": ["chat"], "image": ["paint"]})
    assert figures["memory_planned_mb"] == 350 + 100 + 1500
    assert figures["disk_planned_gb"] == 8 + 1 + 10 + 20
    assert figures["problems"] == []
