"""What VictoriaLogs is told: bounds for age, disk and memory, and what a line is stored with."""

from typing import Any

import render


def flags(**where: Any) -> dict[str, str]:
    command = render.container("victorialogs", **where)["command"]
    return dict(one.removeprefix("-").split("=", 1) for one in command)


def test_old_days_go_by_age_and_before_the_disk_is_full():
    found = flags(entry={"disk_gb": 10})
    assert found["retentionPeriod"] == "14d"
    assert found["retention.maxDiskSpaceUsageBytes"] == f"{8 * 1024}MiB"
