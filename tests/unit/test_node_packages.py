"""Packages of a node: missing, left unfinished by a killed dpkg, and installed by us."""

import subprocess
import sys
from contextlib import contextmanager

import pytest
from aicluster_node import packages, state, system
from node_half import deliver, inspect

pytestmark = pytest.mark.usefixtures("own_node")


@contextmanager
def held(path):
    """Another process holds a lock of dpkg's kind on a file."""
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", f"{script}; sys.stdin.read()", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin and process.stdout
        process.stdout.readline()
        yield
        process.stdin.close()


@pytest.mark.parametrize(
    ("said", "missing"),
    [
        pytest.param("curl installed\ncurl config-files\n", [], id="another architecture was removed"),
        pytest.param("curl config-files\ncurl installed\n", [], id="another one is listed first"),
        pytest.param("curl config-files\ncurl not-installed\n", ["curl"], id="none is installed"),
        pytest.param("curl unpacked\n", ["curl"], id="it is half there"),
    ],
)
def test_a_package_is_there_when_one_of_its_architectures_is(monkeypatch, said, missing):
    monkeypatch.setattr(system, "run", lambda _command: said)
    assert inspect(packages=["curl"])["packages"] == missing


@pytest.mark.parametrize(
    ("said", "updates", "found"),
    [
        pytest.param("jq installed\nold config-files\n", [], [], id="all is done"),
        pytest.param(
            "jq half-configured\ncurl unpacked\nsudo installed\n",
            ["0001"],
            [{"name": "curl", "why": "unpacked"}, {"name": "jq", "why": "half-configured"}],
            id="packages are half there, wanted or not",
        ),
        pytest.param(
            "jq installed\n",
            ["0003", "tmp.i"],
            [{"name": "dpkg", "why": "was cut off"}],
            id="dpkg has not told its database yet",
        ),
        pytest.param("jq installed\n", ["tmp.i"], [], id="a scratch file is no work"),
    ],
)
def test_what_a_dpkg_that_was_killed_left_behind_is_found(tmp_path, monkeypatch, said, updates, found):
    monkeypatch.setattr(system, "run", lambda _command: said)
    for name in updates:
        (tmp_path / "dpkg" / "updates" / name).touch()
    assert inspect(packages=["sudo"])["unfinished"] == found


def test_packages_another_dpkg_is_at_work_on_are_not_unfinished(tmp_path, monkeypatch):
    monkeypatch.setattr(system, "run", lambda _command: "jq unpacked\n")
    lock = tmp_path / "dpkg" / "lock-frontend"
    with held(lock):
        assert inspect(packages=["jq"])["unfinished"] == []
    assert lock.exists()
    assert inspect(packages=["jq"])["unfinished"] == [{"name": "jq", "why": "unpacked"}]


def test_the_node_remembers_which_packages_and_repositories_were_not_there_before(tmp_path, monkeypatch):
    sources = [str(tmp_path / "docker.sources"), str(tmp_path / "docker.asc")]
    monkeypatch.setattr(system, "run", lambda _command: "python3-debian installed\n")
    packages.record({"packages": ["jq", "python3-debian"], "sources": sources[:1]})
    (tmp_path / "docker.asc").touch()
    packages.record({"packages": ["curl"], "sources": sources})
    deliver({})
    inspect(provisioned_now={})
    known = state.read_state()
    assert (known["packages"], known["sources"]) == (["curl", "jq"], sources[:1])
