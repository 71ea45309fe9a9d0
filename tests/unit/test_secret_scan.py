"""The search for secrets on a node finds each kind of leak, and nothing where there is none."""

import base64
import os
import subprocess
import sys

import pytest
import secret_scan
from programs import script

# Of this test alone: others look at the processes of this machine at the same time.
SECRETS = {
    name: f"made-up-secret-of-{name}-{os.getpid()}" for name in ("docker", "file", "process", "journal")
}
LOGIN = base64.b64encode(f"ab:{SECRETS['journal']} and".encode()).decode()


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node of one folder, whose containers and journal show secrets."""
    own = secret_scan.program
    roots = f"LASTING_S, ROOTS = 0.2, ({str(tmp_path / 'etc')!r},) or ("
    monkeypatch.setattr(secret_scan, "program", lambda secrets: own(secrets).replace("ROOTS = (", roots))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    shown = f"'ps --all') echo c1 first;; 'logs c1') echo PASSWORD={SECRETS['docker']} >&2;;"
    script(tmp_path / "bin/docker", f'case "$1 $2" in {shown} esac')
    script(tmp_path / "bin/journalctl", f"echo {LOGIN}")
    return tmp_path


def test_each_leak_is_found_and_a_secret_in_its_own_place_is_none(node):
    for name, mode in {
        "conf": 0o600,
        "secrets/wide": 0o440,
        "secrets.bak/key": 0o400,
        "secrets/key": 0o400,
    }.items():
        file = node / "etc/app" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRETS["file"])
        file.chmod(mode)
    waits = [sys.executable, "-c", "print(flush=True); input()", SECRETS["process"]]
    with subprocess.Popen(waits, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = secret_scan.run([sys.executable], SECRETS)
    files = [f"file {node}/etc/app/{name}" for name in ("conf", "secrets.bak/key", "secrets/wide")]
    places = [(name, " ".join(place.split()[:2])) for name, place in found]
    assert places == [
        ("docker", "docker logs"),
        *(("file", file) for file in files),
        ("journal", "journal"),
        ("process", "cmdline of"),
    ]


def test_a_search_that_breaks_is_an_error_and_tells_no_value(node):
    script(node / "bin/journalctl", "exit 4")
    with pytest.raises(RuntimeError, match="journalctl failed with 4") as failure:
        secret_scan.run([sys.executable], SECRETS)
    assert not [value for value in SECRETS.values() if value in str(failure.value)]
