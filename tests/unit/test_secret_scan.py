"""The search for secrets on a node finds each kind of leak, and nothing where there is none."""

import base64
import os
import subprocess
import sys
from typing import Any

import pytest
import secret_scan
from programs import script

SECRETS = {"db_password": "q7Zt9wKx3LmP5vRs", "api_key": "aN8cD2fG6hJ4kB1e"}
VALUE = SECRETS["db_password"]


@pytest.fixture
def search(tmp_path, monkeypatch):
    """Look on a node of one folder and of processes, containers and a journal that say what a test plants."""
    own = secret_scan.program
    roots = f"LASTING_S, ROOTS = 0.2, ({str(tmp_path / 'etc')!r},) or ("
    monkeypatch.setattr(secret_scan, "program", lambda secrets: own(secrets).replace("ROOTS = (", roots))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    def run(docker: str = "", journal: str = ":", secrets: Any = SECRETS) -> list[tuple[str, str]]:
        shown = f'case "$1 $2" in\n  ps*) echo "c1 first"; echo "c2 second";;\n{docker}\nesac'
        for name, text in {"docker": shown, "journalctl": journal}.items():
            script(tmp_path / "bin" / name, text)
        return secret_scan.run([sys.executable], secrets)

    return run


@pytest.mark.parametrize("what", ["inspect", "logs"])
def test_a_secret_that_docker_shows_is_found_with_its_container(search, what):
    found = search(docker=f"  '{what} c1') echo PASSWORD={VALUE} >&2;;")
    assert found == [("db_password", f"docker {what} first")]


@pytest.mark.parametrize(("path", "mode", "right"), [
    pytest.param("etc/app/conf", 0o600, False, id="a file nobody else may read is no secret's place"),
    pytest.param("etc/app/secrets/key", 0o440, False, id="a secret file with two readers"),
    pytest.param("etc/app/secrets.bak/key", 0o400, False, id="a folder that is only called alike"),
    pytest.param("etc/app/secrets/deeper/key", 0o400, True, id="its own place"),
])  # fmt: skip
def test_a_secret_in_a_file_of_the_wrong_place_or_mode_is_found(tmp_path, search, path, mode, right):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(SECRETS["api_key"])
    file.chmod(mode)
    assert search() == ([] if right else [("api_key", f"file {file}")])


@pytest.mark.parametrize("part", ["cmdline", "environ"])
def test_a_secret_of_a_process_is_found(search, part):
    value = f"of-this-test-alone-{part}"  # others look at the processes of this machine at the same time
    variables = {**os.environ, "PASSWORD": value if part == "environ" else ""}
    waits = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
    waits += [value] if part == "cmdline" else []
    with subprocess.Popen(waits, env=variables, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        [(name, seen)] = search(secrets={"own": value})
        process.kill()
    assert (name, seen.split()[0]) == ("own", part)


def test_a_secret_in_the_journal_is_found(search):
    assert search(journal=f"printf 'MESSAGE=x\\n\\nMESSAGE=grep {VALUE}\\n'") == [("db_password", "journal")]


@pytest.mark.parametrize("user", ["a", "ab", "abc"])
def test_a_secret_is_found_in_a_login_as_it_is_sent(search, user):
    sent = base64.b64encode(f"{user}:{VALUE} and".encode()).decode()
    assert search(journal=f"echo {sent}") == [("db_password", "journal")]


def test_a_search_that_breaks_is_an_error_and_tells_no_value(search):
    with pytest.raises(RuntimeError, match="journalctl failed with 4") as failure:
        search(journal="exit 4")
    assert not [value for value in SECRETS.values() if value in str(failure.value)]
