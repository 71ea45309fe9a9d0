"""A lab touches only what is its own."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from aicluster_lab.containers import ROOT_LABEL, Containers
from aicluster_lab.errors import LabError

HERE, THERE = Path("/home/me/here"), Path("/home/me/there")


class Thing:
    """A container, network or volume of a fake engine."""

    def __init__(self, owner, status="", name=""):
        self.name = name
        self.attrs = {"Labels": {ROOT_LABEL: str(owner)}}
        self.status = status
        self.removed = False

    def remove(self, **_):
        self.removed = True


def engine(containers=(), networks=(), volumes=()):
    def listing(things):
        return SimpleNamespace(list=lambda **_: list(things))

    return SimpleNamespace(
        containers=listing(containers), networks=listing(networks), volumes=listing(volumes)
    )


@pytest.mark.parametrize("take_over", [False, True])
def test_its_own_lab_stays(take_over):
    own = Thing(HERE, "exited")
    Containers(engine([own], [Thing(HERE)]), HERE).require_own(take_over)
    assert not own.removed


@pytest.mark.parametrize("things", [
    pytest.param({"containers": [Thing(THERE, "exited")]}, id="containers that stand still"),
    pytest.param({"networks": [Thing(THERE)]}, id="a network alone"),
    pytest.param({"volumes": [Thing(THERE)]}, id="a volume alone"),
])  # fmt: skip
def test_another_lab_is_refused_by_the_name_of_its_checkout(things):
    with pytest.raises(LabError, match=str(THERE)):
        Containers(engine(**things), HERE).require_own()


@pytest.mark.parametrize("status", ["running", "paused", "restarting"])
def test_another_lab_that_runs_is_never_taken_over(status):
    alive, dead = Thing(THERE, status), Thing(THERE, "exited")
    with pytest.raises(LabError, match=str(THERE)):
        Containers(engine([dead, alive]), HERE).require_own(take_over=True)
    assert not dead.removed


def test_another_lab_that_stands_still_is_removed_whole_on_demand():
    things = [Thing(THERE, "exited"), Thing(THERE), Thing(THERE)]
    Containers(engine(things[:1], things[1:2], things[2:]), HERE).require_own(take_over=True)
    assert all(thing.removed for thing in things)


def test_what_is_no_longer_in_the_inventory_goes_with_its_data_and_the_rest_stays():
    nodes = [Thing(HERE, "running", name) for name in ("a", "b")]
    volumes = [Thing(HERE, name=name) for name in ("a", "b")]
    assert Containers(engine(nodes, volumes=volumes), HERE).remove_others({"a"}) == ["b"]
    assert [thing.removed for thing in nodes + volumes] == [False, True, False, True]
