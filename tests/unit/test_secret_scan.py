"""The search for secrets on a node finds each kind of leak, and nothing where there is none."""

import base64
import os
import subprocess
import sys

import pytest
import secret_scan
from programs import script

# Users whose logins, as they are sent, begin at each place of the three that base64 has.
USERS = ("a", "ab", "abc")
# Of this test alone: others look at the processes of this machine at the same time.
SECRETS = {
    name: f"made-up-secret-of-{name}-{os.getpid()}"
    for name in ("cmdline", "docker", "environ", "file", *USERS)
}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """A node of one folder, whose containers and journal show secrets."""
    own = secret_scan.program
    roots = f"LASTING_S, ROOTS = 0.2, ({str(tmp_path / 'etc')!r},) or ("
    monkeypatch.setattr(secret_scan, "program", lambda secrets: own(secrets).replace("ROOTS = (", roots))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    shown = f"'ps --all') echo c1 first;; 'logs c1') echo PASSWORD={SECRETS['docker']} >&2;;"
    script(tmp_path / "bin/docker", f'case "$1 $2" in {shown} esac')
    logins = [base64.b64encode(f"{user}:{SECRETS[user]} and".encode()).decode() for user in USERS]
    script(tmp_path / "bin/journalctl", f"echo {' '.join(logins)}")
    return tmp_path


def test_each_leak_is_found_and_a_secret_in_its_own_place_is_none(node):
    files = {"conf": 0o600, "secrets.bak/key": 0o400, "secrets/key": 0o400, "secrets/wide": 0o440}
    for name, mode in files.items():
        file = node / "etc/app" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(SECRETS["file"])
        file.chmod(mode)
    waits = [sys.executable, "-c", "print(flush=True); input()", SECRETS["cmdline"]]
    told = {**os.environ, "PASSWORD": SECRETS["environ"]}
    with subprocess.Popen(waits, env=told, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = secret_scan.run([sys.executable], SECRETS)
    assert [(name, " ".join(place.split()[:2])) for name, place in found] == [
        *((user, "journal") for user in USERS),
        ("cmdline", "cmdline of"),
        ("docker", "docker logs"),
        ("environ", "environ of"),
        *(("file", f"file {node}/etc/app/{name}") for name in files if name != "secrets/key"),
    ]


def test_a_search_that_breaks_is_an_error_and_tells_no_value(node):
    script(node / "bin/journalctl", "exit 4")
    with pytest.raises(RuntimeError, match="journalctl failed with 4") as failure:
        secret_scan.run([sys.executable], SECRETS)
    assert not [value for value in SECRETS.values() if value in str(failure.value)]
