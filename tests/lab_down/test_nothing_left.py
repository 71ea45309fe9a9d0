"""After `make lab-down` the machine is as before, but for the build cache."""

from pathlib import Path

import pytest
from aicluster_lab import engine as lab_engine
from aicluster_lab.progress import Progress
from tree import ROOT

PREFIX = "aicluster-lab"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The engine the lab used. One the lab has started and stopped is started once more, to look."""
    state = tmp_path_factory.mktemp("engine")
    yield lab_engine.connect(state, Progress())
    lab_engine.stop(state)


def test_no_container(engine):
    assert [item.name for item in engine.containers.list(all=True) if item.name.startswith(PREFIX)] == []


def test_no_network(engine):
    assert [item.name for item in engine.networks.list() if item.name.startswith(PREFIX)] == []


def test_no_volume(engine):
    assert [item.name for item in engine.volumes.list() if item.name.startswith(PREFIX)] == []


def test_no_process():
    lines = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    lab = str(ROOT / ".lab").encode()
    assert not [line for line in lines if any(lab in argument for argument in line)]


def test_no_key_secret_or_card():
    assert not (ROOT / ".lab").exists()
