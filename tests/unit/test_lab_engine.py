"""The lab installs an engine only where it can, and says what to do elsewhere."""

import json
import os
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from aicluster_lab import engine
from aicluster_lab.errors import LabError

DEBIAN = {"ID": "debian"}
UBUNTU_LIKE = {"ID": "mint", "ID_LIKE": "ubuntu debian"}


@pytest.mark.parametrize(("uid", "system", "foreign", "words"), [
    pytest.param(0, DEBIAN, False, "", id="root on Debian may"),
    pytest.param(0, UBUNTU_LIKE, False, "", id="root on something like Ubuntu may"),
    pytest.param(1000, DEBIAN, False, "usermod -aG docker", id="a user learns how to become able"),
    pytest.param(0, {"ID": "fedora", "PRETTY_NAME": "Fedora 43"}, False, "Fedora 43", id="another system"),
    pytest.param(0, DEBIAN, True, "DOCKER_HOST", id="not when another engine was asked for"),
])  # fmt: skip
def test_why_an_engine_cannot_be_installed(uid, system, foreign, words):
    with pytest.raises(LabError, match=words) if words else nullcontext():
        engine.require_installable(uid, system, foreign)


@pytest.mark.parametrize(("info", "words"), [
    pytest.param({"ServerVersion": "20.10.24+dfsg1"}, "", id="Debian 12's engine"),
    pytest.param({"ServerVersion": "19.03.15"}, "needs 20.10", id="an engine without cgroup v2"),
    pytest.param({"ServerVersion": "9.1.0"}, "needs 20.10", id="versions are numbers, not text"),
    pytest.param(
        {"ServerVersion": "28.5.2", "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]},
        "rootless", id="a rootless engine"),
    pytest.param({"ServerVersion": "28.5.2", "OperatingSystem": "Docker Desktop"}, "Desktop",
        id="Docker Desktop"),
])  # fmt: skip
def test_why_nodes_cannot_run_on_an_engine(info, words):
    with pytest.raises(LabError, match=words) if words else nullcontext():
        engine.require_usable(info)


SELF = {"unit": "", "pid": os.getpid(), "start_ticks": 1}
A_UNIT = {"unit": "docker.service", "pid": 0, "start_ticks": 0}
BUSY = SimpleNamespace(containers=SimpleNamespace(list=lambda: ["a container"]))


@pytest.mark.parametrize(("record", "answering"), [
    pytest.param(None, None, id="one the lab did not start"),
    pytest.param(SELF, None, id="a process that took over the engine's number"),
    pytest.param(A_UNIT, BUSY, id="one that runs somebody else's container"),
])  # fmt: skip
def test_what_is_not_the_labs_alone_is_not_stopped(record, answering, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "answering", lambda: answering)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be stopped"))
    if record:
        (tmp_path / "engine.json").write_text(json.dumps(record))
    assert engine.stop(tmp_path) is False
