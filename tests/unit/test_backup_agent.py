"""What a node does for its backup, and what it keeps, tells and refuses when something stops it."""

import json
import multiprocessing
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aicluster_backup
import aicluster_backup_job
import aicluster_backup_record as record
import aicluster_textfile
import pytest
from aicluster_backup import main
from aicluster_backup_job import copy_sqlite
from aicluster_backup_tools import FailedError
from backups import BackupNode, job
from tables import cases
from tree import ROOT

# What restic does, and what happens at store N where `says_N` is written.
INIT = 'touch "$here/repository_${5##*store_}"'
BACKUP = """n=${5##*store_}
if [ ! -e "$here/repository_$n" ]; then
  echo '{"message_type":"exit_error","code":10,"message":"Fatal: repository does not exist"}' >&2
  exit 10
fi
if [ -e "$here/says_$n" ]; then . "$here/says_$n"; fi
echo '{"message_type":"status","percent_done":1}'
echo '{"message_type":"summary","data_added":7,"total_bytes_processed":70,"total_files_processed":3,' \\
  '"snapshot_id":"5a"}'
"""
# The engine does not end a process in a container with the client that asked for it.
HANGS = """
setsid sh -c 'while sleep 0.1; do :; done' restic backup "$5" & touch "$here/hangs"
wait
"""
DUMP = "#!/bin/sh\necho dumped > $1/all.new && mv $1/all.new $1/all\n"


class Node(BackupNode):
    """A node with two jobs and two stores."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        self.docker(init=INIT, backup=BACKUP)
        self.program("dump", DUMP)
        self.plan(
            job("postgres", dumps=[str(folder / "dump")], paths=["/staging/postgres"]),
            job("backup", paths=["/host/etc"], exclude=["/host/etc/*/secrets"]),
        )

    def status(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(one["job"], one["store"]): one for one in record.copies(record.plan())}

    def events(self) -> list[tuple[str, str, str]]:
        lines = map(json.loads, self.read("run/progress").splitlines())
        return [(one["event"], one["job"], one["store"]) for one in lines]

    def leftovers(self) -> str:
        """The processes of restic that still copy."""
        return self.run("pgrep", "--full", f"restic backup --repository-file={self.folder}/").stdout

    def copied(self) -> list[str]:
        """What restic was asked to copy."""
        return self.asked("exec backup restic backup ")


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = Node(tmp_path, monkeypatch)
    made.use(monkeypatch, {
        aicluster_backup: {"BY": "run/by"},
        aicluster_backup_job: {"IN_CONTAINER": "container"},
        aicluster_textfile: {"FOLDER": "metrics"},
    })  # fmt: skip
    monkeypatch.setattr(aicluster_backup, "PAUSE_S", 0.01)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def test_restic_is_told_what_to_copy_and_the_run_its_progress_and_metrics(node):
    assert main(["run"]) == 0
    options = "--retry-lock=30m --json --host=PI52 --tag=backup --exclude=/host/etc/*/secrets /host/etc"
    assert node.copied()[-1].endswith(f"store_2 {options}")
    assert node.events()[:3] == [
        ("start", "postgres", "AGX0"), ("done", "postgres", "AGX0"), ("start", "postgres", "ORIN0"),
    ]  # fmt: skip
    labels = '{copy="2",job_name="backup",store="ORIN0"}'
    assert node.metrics("backup")[f"backup_last_added_bytes{labels}"] == 7
    assert node.metrics("backup")[f"backup_last_exit_code{labels}"] == 0


@cases(("says", "code", "message"), {
    "a folder that is missing, which restic passes over": (
        "echo '/host/etc does not exist, skipping' >&2", 1, "/host/etc does not exist, skipping"),
    "a file that cannot be read": (
        """echo '{"message_type":"error","error":{"message":"denied"},"item":"/a"}' >&2; exit 3""",
        3, "error: /a: denied"),
    "an answer without a snapshot": ("exit 0", 1, "restic named no snapshot"),
    "an end without a word": ("exit 137", 137, "restic ended with 137 and said nothing"),
})  # fmt: skip
def test_a_failure_of_one_store_is_recorded_and_the_others_go_on(node, says, code, message):
    main(["run"])
    before = node.status()["backup", "ORIN0"]
    node.write("says_2", says)
    assert main(["run"]) == 1
    assert node.events().count(("failed", "backup", "ORIN0")) == 1
    assert ("done", "backup", "AGX0") in node.events()
    after = node.status()["backup", "ORIN0"]
    assert after["exit_code"] == code
    assert message in after["error"]
    kept = ("success_at", "seconds", "added_bytes", "snapshot")
    assert [after[key] for key in kept] == [before[key] for key in kept], "a failure leaves the last success"
    labels = '{copy="2",job_name="backup",store="ORIN0"}'
    assert node.metrics("backup")[f"backup_last_success_timestamp_seconds{labels}"] == before["success_at"]


def test_a_snapshot_from_which_a_vanished_file_is_missing_is_made_again(node):
    node.write("repository_1", "")
    node.write("says_1", 'if [ ! -e "$here/once" ]; then touch "$here/once"; exit 3; fi')
    assert main(["run"]) == 0
    assert len([line for line in node.copied() if "store_1" in line and "tag=postgres" in line]) == 2


@pytest.mark.parametrize(("says", "code"), [("removed 1 locks", 0), ("", 1)], ids=["left", "renewed"])
def test_a_lock_is_taken_away_that_a_store_left_when_it_lost_its_power(node, says, code):
    node.write("repository_1", "")
    node.write("says_1", "exit 11")
    node.write("on/unlock", f'printf "{says}" && rm "$here/says_1"')
    node.plan(job("backup", paths=["/host/etc"]))
    assert main(["run"]) == code


@cases(("broken", "error"), {
    "a path": ({"paths": ["/host/no/such/folder"]}, "/no/such/folder does not exist"),
    "a dump": ({"dumps": ["/bin/false"]}, "/bin/false: ended with 1"),
})  # fmt: skip
def test_what_cannot_be_copied_fails_before_restic_is_asked_and_the_next_job_is_made(node, broken, error):
    node.plan(job("postgres", **broken), job("backup", paths=["/host/etc"]))
    assert main(["run"]) == 1
    assert {one["error"] for (name, _), one in node.status().items() if name == "postgres"} == {error}
    assert {"tag=backup" in line for line in node.copied()} == {True}


def test_a_store_that_is_off_fails_at_once_and_the_other_one_has_its_copies(node):
    node.write("secrets/store_2", "rest:http://PI52:secret@127.0.0.1:9/PI52/")
    assert main(["run"]) == 1
    assert node.status()["backup", "ORIN0"]["error"].startswith("127.0.0.1:9 does not answer")
    assert node.status()["backup", "AGX0"]["exit_code"] == 0


@pytest.mark.parametrize(("full", "copy", "store"), [([], 1, "AGX0"), ([1], 2, "ORIN0"), ([1, 2], None, "")])
def test_one_snapshot_is_made_where_a_store_takes_it_and_counts_as_no_copy(node, capsys, full, copy, store):
    main(["run"])
    before = node.status()
    for number in full:
        node.write(f"says_{number}", "echo 'Fatal: no space left on device' >&2; exit 1")
    capsys.readouterr()
    assert main(["before", "postgres", "--by", "PI31"]) == (0 if copy else 1)
    said = capsys.readouterr()
    *tries, last = [json.loads(line) for line in said.out.splitlines() if line.startswith("{")]
    if copy:
        made = {"job": "postgres", "copy": copy, "store": store, "snapshot": "5a", "live": False}
        assert (last, len(tries)) == ({"event": "end", "made": [made]}, len(full) + 1)
        assert "--tag=postgres --tag=before /staging/postgres" in node.copied()[-1]
    else:
        assert said.err == "postgres: no space left on device\n"
    assert node.status() == before


@cases(("how", "status", "left"), {
    "killed": (signal.SIGKILL, -9, True),
    "ended by systemd": (signal.SIGTERM, 143, False),
})  # fmt: skip
def test_after_an_interrupted_run_the_next_one_ends_what_it_left_and_succeeds(node, how, status, left):
    main(["run"])
    before = node.status()["postgres", "AGX0"]
    says = node.write("says_1", HANGS)
    running = multiprocessing.get_context("fork").Process(target=main, args=(["run"],))
    running.start()
    wait_for(node.folder / "hangs")
    assert running.pid
    os.kill(running.pid, how)
    running.join()
    assert running.exitcode == status
    assert bool(node.leftovers()) == left
    assert node.status()["postgres", "AGX0"] == before
    says.unlink()
    assert main(["run"]) == 0
    assert node.leftovers() == ""


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_copy_of_a_database_in_use_has_all_that_is_committed_in_one_file(tmp_path, mode):
    source, target = tmp_path / "a #1.db", tmp_path / "copies/a.db"
    with closing(sqlite3.connect(source)) as theirs:
        theirs.executescript(f"PRAGMA journal_mode={mode}; CREATE TABLE a (x); INSERT INTO a VALUES (1);")
        theirs.execute("INSERT INTO a VALUES (2)")
        copy_sqlite(str(source), str(target))
    with closing(sqlite3.connect(f"file:{target}?immutable=1", uri=True)) as copy:
        assert copy.execute("SELECT x FROM a").fetchall() == [(1,)]
    assert [path.name for path in target.parent.iterdir()] == ["a.db"]


@pytest.mark.parametrize("content", [None, b"SQLite format 3\0" + b"\1" * 4000], ids=["missing", "damaged"])
def test_a_database_that_is_no_good_leaves_the_last_copy(tmp_path, content):
    source, target = tmp_path / "a.db", tmp_path / "copy.db"
    target.write_text("the last copy")
    if content:
        source.write_bytes(content)
    with pytest.raises((FailedError, sqlite3.DatabaseError)):
        copy_sqlite(str(source), str(target))
    assert target.read_text() == "the last copy"


def test_the_copy_in_a_store_that_is_no_longer_used_counts_for_nothing(node):
    main(["run"])
    node.write_json("jobs.json", {**record.plan(), "stores": ["AGX0", "NANO"]})
    old = [record.why_old(one, time.time(), 3600) for one in record.copies(record.plan())]
    assert old == ["", "postgres to NANO was never copied", "", "backup to NANO was never copied"]
    renamed = record.copies({**record.plan(), "node": "PI25"})
    assert {"success_at" in one for one in renamed} == {False}, "it has another repository"


def test_the_fallback_starts_the_unit_once_a_copy_is_overdue_and_says_who_did(node):
    node.program("bin/systemctl", f'#!/bin/sh\necho "$@" >> {node.folder}/systemctl\n')
    unit = (ROOT / "roles/backup/templates/etc/systemd/system/aicluster-backup-fallback.service").read_text()
    [start] = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert main(start.split()[2:]) == 0
    assert node.read("systemctl") == "start --no-block aicluster-backup.service\n"
    assert aicluster_backup.started_by("") == "the fallback timer"
    assert aicluster_backup.started_by("") == "systemctl", "the note is of one run"
    main(["run"])
    main(["fallback"])
    assert node.read("systemctl").count("start") == 1
