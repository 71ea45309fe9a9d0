"""Packages of a node: missing, left unfinished by a killed dpkg, and installed by us; and its units."""

import sys
from subprocess import PIPE, Popen

import pytest
from aicluster_node import packages, state, system, units
from node_half import deliver, inspect
from tables import cases

pytestmark = pytest.mark.usefixtures("own_node")


@pytest.fixture
def dpkg(monkeypatch):
    return lambda said: monkeypatch.setattr(system, "run", lambda _command: said)


@cases(("said", "missing"), {
    "another architecture was removed": ("curl installed\ncurl config-files\n", []),
    "none is installed": ("curl config-files\ncurl not-installed\n", ["curl"]),
    "it is half there": ("curl unpacked\n", ["curl"]),
})  # fmt: skip
def test_a_package_is_there_when_one_of_its_architectures_is(dpkg, said, missing):
    dpkg(said)
    assert inspect(packages=["curl"])["packages"] == missing


@cases(("said", "updates", "found"), {
    "all is done": ("jq installed\nold config-files\n", [], {}),
    "wanted or not": ("jq half-configured\ncurl unpacked\nsudo installed\n", ["1"],
        {"curl": "unpacked", "jq": "half-configured"}),
    "not yet in the database": ("jq installed\n", ["3", "tmp.i"], {"dpkg": "was cut off"}),
})  # fmt: skip
def test_what_a_dpkg_that_was_killed_left_behind_is_found(tmp_path, dpkg, said, updates, found):
    dpkg(said)
    for name in updates:
        (tmp_path / "dpkg" / "updates" / name).touch()
    unfinished = inspect(packages=["sudo"])["unfinished"]
    assert unfinished == [{"name": name, "why": why} for name, why in found.items()]


HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
)


def test_packages_another_dpkg_is_at_work_on_are_not_unfinished(tmp_path, dpkg):
    dpkg("jq unpacked\n")
    lock = tmp_path / "dpkg" / "lock-frontend"
    with Popen([sys.executable, "-c", HOLD, str(lock)], stdin=PIPE, stdout=PIPE) as another:
        assert another.stdout and another.stdout.readline()
        assert inspect(packages=["jq"])["unfinished"] == []
        another.communicate(b"\n")
    assert lock.exists()
    assert inspect(packages=["jq"])["unfinished"] == [{"name": "jq", "why": "unpacked"}]


def test_the_node_remembers_which_packages_and_repositories_were_not_there_before(tmp_path, dpkg):
    dpkg("python3-debian installed\n")
    sources = [str(tmp_path / "docker.sources"), str(tmp_path / "docker.asc")]
    packages.record({"packages": ["jq", "python3-debian"], "sources": sources[:1]})
    (tmp_path / "docker.asc").touch()
    packages.record({"packages": ["curl"], "sources": sources})
    deliver({})
    inspect(provisioned_now={})
    known = state.read_state()
    assert (known["packages"], known["sources"]) == (["curl", "jq"], sources[:1])


@cases(("unit", "shown", "why"), {
    "a unit that runs is as it should be": ({}, {}, None),
    "one that keeps starting is not": ({}, {"ActiveState": "activating"}, "activating"),
    "one that waits for another node may": ({"waits": True}, {"ActiveState": "activating"}, None),
    "but it may not have given up": ({"waits": True}, {"ActiveState": "failed"}, "failed"),
    "nor be stopped": ({"waits": True}, {"ActiveState": "inactive"}, "inactive"),
    "one for the boot need not run": ({"boot": True}, {"ActiveState": "inactive"}, None),
    "one that will not start at boot": ({}, {"UnitFileState": "disabled"}, "disabled"),
    "one that systemd does not know": ({}, {"LoadState": "not-found"}, "not there"),
})  # fmt: skip
def test_a_unit_is_as_it_should_be(monkeypatch, unit, shown, why):
    states = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled", **shown}
    listing = "".join(f"{key}={value}\n" for key, value in states.items())
    monkeypatch.setattr(system, "run", lambda _command: listing)
    assert units.deviating_units([{"name": "a", **unit}]) == ([{"name": "a", "why": why}] if why else [])
