"""What holds for every unit test, however it is started."""

import asyncio
import inspect
import os
import sys
from pathlib import Path

import ansible.module_utils
import pytest
from aicluster_node import docker, hold, images, packages, state, storage, system
from hypothesis import settings
from tree import ROOT

# A busy machine makes no test fail.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
# Some start Ansible by name, as its users do: the one beside this Python.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# Ansible's path of module utilities, as ansible.cfg sets it.
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))


@pytest.fixture
def own_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of a node. It has no engine, so nothing of this machine shows."""
    for module, constant, name in (
        (state, "STATE_FILE", "state/state.json"),
        (system, "STACK_ROOT", "stack"),
        (system, "DAEMON_FILE", "daemon.json"),
        (docker, "DOCKER_SOCKET", "docker.sock"),
        (images, "LOGINS_FILE", "logins.json"),
        (storage, "DOCKER_ROOT", "docker"),
        (storage, "CONTAINERD_FILE", "containerd.toml"),
        (hold, "LOCK_FILE", "lock"),
        (hold, "SWITCH_LOCK", "switch"),
        (packages, "DPKG_FOLDER", "dpkg"),
    ):
        monkeypatch.setattr(module, constant, str(tmp_path / name))
    (tmp_path / "dpkg" / "updates").mkdir(parents=True)
    for name in ("LC_ALL", "LANGUAGE"):
        monkeypatch.setenv(name, "C")  # so that what `answer` sets ends with the test
    return tmp_path


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
