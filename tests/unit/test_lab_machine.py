"""What the lab leaves alone on this machine: engines, labs and networks of others."""

import json
import os
import subprocess
from ipaddress import IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aicluster_lab import engine, subnet
from aicluster_lab.containers import ROOT_LABEL, Containers
from aicluster_lab.errors import LabError
from aicluster_lab.subnet import Occupied
from tables import cases

SELF = {"unit": "", "pid": os.getpid(), "start_ticks": 1}
A_UNIT = {"unit": "docker.service", "pid": 0, "start_ticks": 0}
BUSY = SimpleNamespace(containers=SimpleNamespace(list=lambda: ["a container"]))


@cases(("record", "answering"), {
    "one the lab did not start": (None, None),
    "a process that took over the engine's number": (SELF, None),
    "one that runs somebody else's container": (A_UNIT, BUSY),
})  # fmt: skip
def test_an_engine_that_is_not_the_labs_alone_is_not_stopped(record, answering, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "answering", lambda: answering)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be stopped"))
    if record:
        (tmp_path / "engine.json").write_text(json.dumps(record))
    assert engine.stop(tmp_path) is False


def test_the_lab_of_another_checkout_is_not_taken_over_while_it_runs():
    labels = {"Labels": {ROOT_LABEL: "/home/me/there"}}
    running = SimpleNamespace(attrs=labels, status="running", remove=lambda **_: pytest.fail("it runs"))
    there, nothing = (SimpleNamespace(list=lambda found=found, **_: found) for found in ([running], []))
    client: Any = SimpleNamespace(containers=there, networks=nothing, volumes=nothing)
    with pytest.raises(LabError, match="/home/me/there"):
        Containers(client, Path("/home/me/here")).require_own(take_over=True)


def test_a_network_that_overlaps_what_is_in_use_is_refused_with_the_files_to_edit():
    used = [Occupied(IPv4Network("198.18.77.53/32"), what) for what in ("this", "that")]
    named = r"198\.18\.77\.0/24 overlaps .*: this; that\. .*lab/group_vars/lab\.yml.*lab/hosts\.yml"
    with pytest.raises(LabError, match=named):
        subnet.require_free(IPv4Network("198.18.77.0/24"), used)
