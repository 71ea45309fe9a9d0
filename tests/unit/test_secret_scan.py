"""The search for secrets on a node finds each kind of leak, and nothing where there is none."""

import base64
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import secret_scan
from secret_scan import Finder, in_files, in_journal, in_processes

SECRETS = {"db_password": "q7Zt9wKx3LmP5vRs", "api_key": "aN8cD2fG6hJ4kB1e"}
FINDER = Finder(SECRETS)
VALUE = SECRETS["db_password"]


def place(folder: Path, path: str, text: str = f"password = {VALUE}\n", mode: int = 0o644) -> Path:
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    target.chmod(mode)
    return target


# --- bytes ---


def names_in(text: str) -> set[str]:
    with tempfile.TemporaryFile() as content:
        content.write(text.encode())
        content.seek(0)
        return FINDER.names_in(content)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 3_000_000 + VALUE, id="deep in a long line"),
        pytest.param(f"\0\x80{VALUE}\0", id="among bytes that are no text"),
        *(
            pytest.param(base64.b64encode(f"{user}:{VALUE}".encode()).decode(), id=f"login of {user}")
            for user in ("a", "ab", "abc")
        ),
        pytest.param(base64.b64encode(f"ab:{VALUE} and more".encode()).decode(), id="within a longer base64"),
    ],
)
def test_a_value_is_found(text):
    assert names_in(text) == {"db_password"}


@pytest.mark.parametrize("text", ["", "nothing", VALUE[:-1], VALUE[1:], VALUE.swapcase()])
def test_what_is_no_value_is_not_found(text):
    assert names_in(text) == set()


# --- files ---


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        pytest.param("opt/app/conf", 0o600, id="a file nobody else may read is not a secret's place"),
        pytest.param("opt/app/conf", 0o644, id="nor is one for everybody"),
        pytest.param("opt/app/secrets/key", 0o600, id="a secret file that can be written"),
        pytest.param("opt/app/secrets/key", 0o440, id="a secret file with two readers"),
    ],
)
def test_a_secret_in_a_file_of_the_wrong_place_or_mode_is_found(tmp_path, path, mode):
    found = list(in_files(FINDER, [str(place(tmp_path, path, mode=mode).parents[1])], []))
    assert found == [("db_password", f"file {tmp_path / path} ({mode:o})")]


@pytest.mark.parametrize("path", ["opt/app/secrets/key", "opt/app/secrets/deeper/key"])
def test_a_secret_in_its_own_place_is_not_found(tmp_path, path):
    place(tmp_path, path, mode=0o400)
    assert list(in_files(FINDER, [str(tmp_path)], [])) == []


# --- processes ---


@contextmanager
def running(seconds: float, *arguments: str, **variables: str) -> Iterator[None]:
    """A process that lasts that long."""
    argv = [sys.executable, "-c", f"import time; print(flush=True); time.sleep({seconds})", *arguments]
    with subprocess.Popen(argv, env=os.environ | variables, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("arguments", "variables", "part"),
    [
        pytest.param([VALUE], {}, "cmdline", id="in a command line"),
        pytest.param([], {"PASSWORD": VALUE}, "environ", id="in an environment"),
    ],
)
def test_a_secret_of_a_process_is_found(monkeypatch, arguments, variables, part):
    monkeypatch.setattr(secret_scan, "LASTING_S", 0.2)
    with running(60, *arguments, **variables):
        [(name, seen)] = in_processes(FINDER)
    assert (name, seen.split()[0]) == ("db_password", part)


# --- what commands print ---


@pytest.fixture
def docker(tmp_path, monkeypatch):
    """A Docker with two containers, one of which shows what a test plants."""

    def plant(**shown: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        cases = "\n".join(f"  '{what} c1') echo '{text}' >&2;;" for what, text in shown.items())
        script = f'#!/bin/sh\ncase "$1 $2" in\n  ps*) echo "c1 first"; echo "c2 second";;\n{cases}\nesac\n'
        (folder / "docker").write_text(script)
        (folder / "docker").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    return plant


def test_a_secret_in_the_journal_is_found_with_who_wrote_it(tmp_path):
    entries = [
        "__CURSOR=1\nMESSAGE=hello\nSYSLOG_IDENTIFIER=kernel\n",
        f"__CURSOR=2\n_SYSTEMD_UNIT=ssh.service\nMESSAGE=COMMAND=grep {VALUE} /etc\nSYSLOG_IDENTIFIER=sudo\n",
        "__CURSOR=3\nMESSAGE=bye\n_SYSTEMD_UNIT=cron.service\n",
    ]
    journal = place(tmp_path, "journal", "\n".join(entries) + "\n")
    found = list(in_journal(FINDER, ["cat", str(journal)]))
    assert found == [("db_password", "journal of ssh.service, sudo")]


# --- the whole ---


@pytest.fixture
def node(tmp_path, docker, monkeypatch):
    """A node of which one folder is looked at; a Python of this machine runs the program."""
    docker(inspect="[]", logs=f"started with {VALUE}")
    journalctl = tmp_path / "bin/journalctl"
    journalctl.write_text("#!/bin/sh\necho MESSAGE=fine\n")
    journalctl.chmod(0o755)
    own = secret_scan.program
    roots = f"ROOTS = ({str(tmp_path / 'etc')!r},) or ("
    monkeypatch.setattr(secret_scan, "program", lambda secrets: own(secrets).replace("ROOTS = (", roots))
    return tmp_path


def test_a_node_reads_program_and_values_from_stdin_and_names_what_it_finds(node):
    leak = place(node, "etc/leak", text=SECRETS["api_key"])
    place(node, "etc/secrets/right", mode=0o400)
    assert secret_scan.run([sys.executable], SECRETS) == [
        ("api_key", f"file {leak} (644)"),
        ("db_password", "docker logs first"),
    ]


def test_a_search_that_breaks_is_an_error_and_tells_no_value(node):
    (node / "bin/journalctl").write_text("#!/bin/sh\nexit 4\n")
    with pytest.raises(RuntimeError, match="journalctl failed with 4") as broken:
        secret_scan.run([sys.executable], SECRETS)
    assert not [value for value in SECRETS.values() if value in str(broken.value)]
