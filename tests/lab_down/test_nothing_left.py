"""After `make lab-down` the machine is as before, but for the build cache."""

import subprocess
from pathlib import Path

import pytest
from aicluster_lab import engine as lab_engine
from aicluster_lab import firewall
from aicluster_lab.containers import ROOT_LABEL, Containers
from aicluster_lab.progress import Progress
from aicluster_lab.sitedata import load_site
from aicluster_lab.subnet import BRIDGE
from tree import ROOT

BY_LABEL = {"label": ROOT_LABEL}


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    """The engine the lab used. One the lab has started and stopped is started once more, to look."""
    state = tmp_path_factory.mktemp("engine")
    yield lab_engine.connect(state, Progress())
    lab_engine.stop(state)


def test_no_container_volume_or_network(engine):
    left = [*engine.containers.list(all=True, filters=BY_LABEL), *engine.volumes.list(filters=BY_LABEL)]
    assert [*left, *engine.networks.list(filters=BY_LABEL)] == []
    assert not Path("/sys/class/net", BRIDGE).exists()


def test_no_firewall_rule(engine):
    assert firewall.dropped_packets(Containers(engine, ROOT)) == -1


def test_no_ssh_connection():
    command = ["ss", "-H", "-t", "-n", "state", "established", "dst", str(load_site(ROOT).network)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""


def test_no_process():
    lines = [path.read_bytes().split(b"\0") for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    lab = str(ROOT / ".lab").encode()
    assert not [line for line in lines if any(lab in argument for argument in line)]


def test_no_key_secret_or_card():
    assert not (ROOT / ".lab").exists()
