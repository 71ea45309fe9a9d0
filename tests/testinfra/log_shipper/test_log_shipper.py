"""The shipper outlives an outage of the store that the stock unit would not."""

import site_under_test as site

UNIT = "systemd-journal-upload"


def test_the_start_limit_is_lifted_and_the_pace_is_even(host, node):
    shown = host.check_output(f"systemctl show -p StartLimitIntervalUSec -p RestartUSec -p Restart {UNIT}")
    pace = site.setting(node, "log_shipper", "log_shipper_retry_s")
    assert set(shown.splitlines()) == {
        "StartLimitIntervalUSec=0", f"RestartUSec={pace}s", "Restart=on-failure",
    }  # fmt: skip


def test_it_starts_with_the_node_and_has_not_given_up(host):
    unit = host.service(UNIT)
    assert unit.is_enabled
    assert host.check_output(f"systemctl show -p ActiveState --value {UNIT}") in {"active", "activating"}


def test_lines_wait_on_disk(host):
    assert host.file("/var/log/journal").is_directory
    assert host.run("find /var/log/journal -name '*.journal' | grep -q .").rc == 0
