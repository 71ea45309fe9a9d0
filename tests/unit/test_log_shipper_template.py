"""What systemd-journal-upload is told: where the log store is, and never to give up."""

from typing import Any

import render

NANO = "192.168.1.159"


def state(host: str, **overrides: Any) -> dict[str, Any]:
    rendering = render.renderer("production", host, overrides)
    found: dict[str, Any] = rendering.state("log_shipper", rendering.variables("log_shipper", {}))
    return found


def test_a_store_that_is_away_does_not_make_the_node_differ():
    [unit] = state("192.168.1.147")["units"]
    assert unit == {"name": "systemd-journal-upload", "enabled": True, "waits": True}


def test_packages_are_installed_where_the_toolkit_may():
    assert state("192.168.1.147")["packages"] == ["systemd-journal-remote"]
    assert state(NANO)["packages"] == []
