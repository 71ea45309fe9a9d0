"""After `make lab-down` the machine is as before, but for the build cache."""

from pathlib import Path

import docker
import pytest
from tree import ROOT

PREFIX = "aicluster-lab"


@pytest.fixture(scope="module")
def engine():
    try:
        return docker.from_env()
    except docker.errors.DockerException:
        pytest.skip("no engine, so nothing runs: the lab's own was stopped")


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
