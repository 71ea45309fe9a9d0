"""systemd units of a node."""

import pytest
from aicluster_node import system, units


@pytest.mark.parametrize(("unit", "shown", "why"), [
    pytest.param({}, {}, None, id="a unit that runs is as it should be"),
    pytest.param({}, {"ActiveState": "activating"}, "activating", id="one that keeps starting is not"),
    pytest.param({"waits": True}, {"ActiveState": "activating"}, None,
        id="one that waits for another node may"),
    pytest.param({"waits": True}, {"ActiveState": "failed"}, "failed", id="but it may not have given up"),
    pytest.param({"waits": True}, {"ActiveState": "inactive"}, "inactive", id="nor be stopped"),
    pytest.param({"boot": True}, {"ActiveState": "inactive"}, None, id="one for the boot need not run"),
    pytest.param({}, {"UnitFileState": "disabled"}, "disabled", id="one that will not start at boot"),
    pytest.param({}, {"LoadState": "not-found"}, "not there", id="one that systemd does not know"),
])  # fmt: skip
def test_a_unit_is_as_it_should_be(monkeypatch, unit, shown, why):
    states = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", **shown}
    listing = "".join(f"{key}={value}\n" for key, value in states.items())
    monkeypatch.setattr(system, "run", lambda _command: listing)
    assert units.deviating_units([{"name": "a", **unit}]) == ([{"name": "a", "why": why}] if why else [])
