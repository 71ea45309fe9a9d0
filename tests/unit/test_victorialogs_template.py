"""What VictoriaLogs is told: bounds for age, disk and memory, and what a line is stored with."""

from typing import Any

import pytest
import render

PLACED = [
    (inventory, host)
    for inventory in render.SOURCES
    for host in render.hosts_running("victorialogs", inventory)
]
every_node = pytest.mark.parametrize(("inventory", "host"), PLACED)


def service(**where: Any) -> dict[str, Any]:
    found: dict[str, Any] = render.compose_of("victorialogs", **where)["services"]["victorialogs"]
    return found


def flags(**where: Any) -> dict[str, str]:
    return dict(one.removeprefix("-").split("=", 1) for one in service(**where)["command"])


def test_it_runs_on_the_monitoring_node_by_default():
    assert [host for _, host in PLACED if host.startswith("192.168.")] == ["192.168.1.204"]


@every_node
def test_every_node_of_the_cluster_may_hand_in_lines(inventory, host):
    [node] = [node for node in render.cluster(inventory) if node["host"] == host]
    assert {one["tier"] for one in render.cluster(inventory)} <= set(
        node["services"]["victorialogs"]["ports"]["api"]["from"]
    )
    assert service(inventory=inventory, host=host)["ports"] == [f"{host}:9428:9428"]


@pytest.mark.parametrize(
    ("memory_mb", "caches", "program"),
    [
        pytest.param(384, "96MiB", "256MiB", id="a board of 2 GB"),
        pytest.param(768, "192MiB", "512MiB", id="more memory, larger caches"),
    ],
)
def test_caches_and_the_whole_program_stay_inside_the_containers_memory(memory_mb, caches, program):
    entry = {"memory_mb": memory_mb}
    assert flags(entry=entry)["memory.allowedBytes"] == caches
    assert service(entry=entry)["environment"]["GOMEMLIMIT"] == program
    assert service(entry=entry)["mem_limit"] == f"{memory_mb}m"


def test_old_days_go_by_age_and_before_the_disk_is_full():
    found = flags(entry={"disk_gb": 10})
    assert found["retentionPeriod"] == "14d"
    assert found["retention.maxDiskSpaceUsageBytes"] == f"{8 * 1024}MiB"


def test_lines_are_found_by_node_unit_and_container():
    assert flags()["journald.streamFields"].split(",") == ["node", "_SYSTEMD_UNIT", "CONTAINER_NAME"]


@pytest.mark.parametrize(
    "field",
    [
        "MESSAGE",
        "PRIORITY",
        "SYSLOG_IDENTIFIER",
        "_HOSTNAME",
        "_SYSTEMD_UNIT",
        "CONTAINER_NAME",
        "_PID",
        "__REALTIME_TIMESTAMP",
    ],
)
def test_what_people_look_for_is_stored(field):
    assert field not in flags()["journald.ignoreFields"].split(",")


def test_bookkeeping_is_not_stored():
    assert {"_CMDLINE", "_BOOT_ID", "_SYSTEMD_CGROUP"} <= set(flags()["journald.ignoreFields"].split(","))


def test_data_lives_in_a_named_volume_where_the_program_looks():
    assert service()["volumes"] == [f"victorialogs_data:{flags()['storageDataPath']}"]
