"""The shipper outlives an outage of the store that the stock unit would not."""

import site_under_test as site

UNIT = "systemd-journal-upload"


def test_the_start_limit_is_lifted_and_the_pace_is_even(host, node):
    shown = host.check_output(f"systemctl show -p StartLimitIntervalUSec -p RestartUSec -p Restart {UNIT}")
    pace = site.setting(node, "log_shipper", "log_shipper_retry_s")
    assert set(shown.splitlines()) == {
        "StartLimitIntervalUSec=0", f"RestartUSec={pace}s", "Restart=on-failure",
    }  # fmt: skip
