"""What VictoriaLogs is told: bounds for age, disk and memory, and what a line is stored with."""

from typing import Any

import pytest
import render


def flags(**where: Any) -> dict[str, str]:
    command = render.container("victorialogs", **where)["command"]
    return dict(one.removeprefix("-").split("=", 1) for one in command)


@pytest.mark.parametrize(("memory_mb", "caches", "program"), [
    pytest.param(384, "96MiB", "256MiB", id="a board of 2 GB"),
    pytest.param(768, "192MiB", "512MiB", id="more memory, larger caches"),
])  # fmt: skip
def test_caches_and_the_whole_program_stay_inside_the_containers_memory(memory_mb, caches, program):
    entry = {"memory_mb": memory_mb}
    assert flags(entry=entry)["memory.allowedBytes"] == caches
    found = render.container("victorialogs", entry=entry)
    assert (found["environment"]["GOMEMLIMIT"], found["mem_limit"]) == (program, f"{memory_mb}m")


def test_old_days_go_by_age_and_before_the_disk_is_full():
    found = flags(entry={"disk_gb": 10})
    assert found["retentionPeriod"] == "14d"
    assert found["retention.maxDiskSpaceUsageBytes"] == f"{8 * 1024}MiB"
