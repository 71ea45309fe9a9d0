"""What a node does for its backup, and what it keeps, tells and refuses when something stops it."""

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import aicluster_backup
import aicluster_backup_job
import aicluster_backup_record as record
import aicluster_textfile
import pytest
from aicluster_backup import failures, main, overdue
from aicluster_backup_job import FailedError, copy_sqlite, leftovers

# Stands for Docker, and for the restic in the container; `says_N` is what happens at store N.
DOCKER = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
echo "$@" >> "$here/asked"
if [ "$1" = volume ]; then echo "$here/volumes/${5#aicluster_}"; exit; fi
n=${5##*store_}
if [ "$4" = init ]; then touch "$here/repository_$n"; exit; fi
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
setsid sh -c 'while :; do sleep 0.1; done' restic backup "$5" & touch "$here/hangs"
wait
"""
DUMP = "#!/bin/sh\necho dumped > $1/all.new && mv $1/all.new $1/all\n"
HOST = {"name": "backup", "dumps": [], "sqlite": {}, "paths": ["/host/etc"], "exclude": [], "copies": 2}


class Node:
    """A node whose folders are below one of this test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.program("bin/docker", DOCKER)
        self.program("dump", DUMP)
        for store in (1, 2):
            self.write(f"secrets/store_{store}", "/repository\n")
        dumped = {"name": "postgres", "dumps": [str(folder / "dump")], "paths": ["/staging/postgres"]}
        self.plan([{**HOST, **dumped}, {**HOST, "exclude": ["/host/etc/*/secrets"]}])

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, text: str) -> None:
        self.write(name, text).chmod(0o755)

    def plan(self, jobs: list[dict[str, Any]]) -> None:
        self.write("jobs.json", json.dumps({"node": "PI52", "stores": ["AGX0", "ORIN0"], "jobs": jobs}))

    def status(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(one["job"], one["store"]): one for one in record.copies(record.plan())}

    def events(self) -> list[tuple[str, str, str]]:
        lines = map(json.loads, Path(record.PROGRESS).read_text().splitlines())
        return [(one["event"], one["job"], one["store"]) for one in lines]

    def asked(self, verb: str) -> list[str]:
        words = f"exec backup restic {verb} "
        return [line for line in (self.folder / "asked").read_text().splitlines() if line.startswith(words)]

    def metrics(self) -> list[str]:
        return (self.folder / "metrics/aicluster_backup.prom").read_text().splitlines()


@pytest.fixture
def node(tmp_path, monkeypatch):
    places = {
        record: {
            "JOBS": "jobs.json", "STAGING": "staging", "STATE": "staging/state.json",
            "PROGRESS": "run/progress", "LOCK": "lock",
        },
        aicluster_backup: {"BY": "run/by"},
        aicluster_backup_job: {"SECRETS": "secrets", "IN_CONTAINER": "container"},
        aicluster_textfile: {"FOLDER": "metrics"},
    }  # fmt: skip
    for module, names in places.items():
        for name, path in names.items():
            monkeypatch.setattr(module, name, str(tmp_path / path))
    monkeypatch.setattr(record, "LOCK_PATIENCE_S", 0.0)
    monkeypatch.setattr(aicluster_backup, "PAUSE_S", 0.01)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    before = signal.getsignal(signal.SIGTERM)
    yield Node(tmp_path)
    signal.signal(signal.SIGTERM, before)


# --- a run ---


def test_a_first_run_makes_the_repositories_and_a_snapshot_of_every_job_in_each(node):
    assert main(["run"]) == 0
    assert len(node.asked("init")) == 2
    first, *_, last = node.asked("backup")
    container = f"{node.folder}/container"
    options = "--retry-lock=30m --json --host=PI52 --tag"
    assert first.endswith(f"--repository-file={container}/store_1 {options}=postgres /staging/postgres")
    assert last.endswith(f"store_2 {options}=backup --exclude=/host/etc/*/secrets /host/etc")
    assert (node.folder / "staging/postgres/all").read_text() == "dumped\n"


def test_a_run_tells_its_progress_its_state_and_its_metrics(node):
    main(["run"])
    assert node.events()[:3] == [
        ("start", "postgres", "AGX0"), ("done", "postgres", "AGX0"), ("start", "postgres", "ORIN0"),
    ]  # fmt: skip
    one = node.status()["backup", "ORIN0"]
    assert (one["copy"], one["added_bytes"], one["size_bytes"], one["files"], one["snapshot"]) == (
        2,
        7,
        70,
        3,
        "5a",
    )
    labels = '{copy="2",job_name="backup",store="ORIN0"}'
    assert f"backup_last_added_bytes{labels} 7.0" in node.metrics()
    assert f"backup_last_exit_code{labels} 0.0" in node.metrics()


FAILURES: dict[str, tuple[str, int, str]] = {
    "a wrong password": ("echo 'Fatal: wrong password or no key' >&2; exit 1", 1, "wrong password or no key"),
    "a wrong password, as restic says it since 0.18": (
        """echo '{"message_type":"exit_error","message":"Fatal: wrong password\\nx"}' >&2; exit 12""",
        12, "wrong password",
    ),
    "a folder that is missing, which restic passes over": (
        "echo '/host/etc does not exist, skipping' >&2", 1, "/host/etc does not exist, skipping",
    ),
    "a file that cannot be read": (
        """echo '{"message_type":"error","error":{"message":"denied"},"item":"/a"}' >&2; exit 3""",
        3, "error: /a: denied",
    ),
    "a full disk": ("echo 'Fatal: no space left on device' >&2; exit 1", 1, "no space left on device"),
    "an answer without a snapshot": ("exit 0", 1, "restic named no snapshot"),
    "an end without a word": ("exit 137", 137, "restic ended with 137 and said nothing"),
}  # fmt: skip


@pytest.mark.parametrize(("says", "code", "message"), FAILURES.values(), ids=FAILURES)
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
    assert f"backup_last_success_timestamp_seconds{labels} {float(before['success_at'])!r}" in node.metrics()


def test_a_snapshot_from_which_a_vanished_file_is_missing_is_made_again(node):
    node.write("repository_1", "")
    node.write("says_1", 'if [ ! -e "$here/once" ]; then touch "$here/once"; exit 3; fi')
    assert main(["run"]) == 0
    assert len([line for line in node.asked("backup") if "store_1" in line and "tag=postgres" in line]) == 2


def test_a_store_that_does_not_answer_is_not_waited_for(node):
    node.write("secrets/store_2", "rest:http://PI52:secret@127.0.0.1:1/PI52/\n")
    assert main(["run"]) == 1
    assert node.status()["backup", "ORIN0"]["error"].startswith("127.0.0.1:1 does not answer: ")
    assert not [line for line in node.asked("backup") if "store_2" in line]


def test_a_dump_that_fails_stops_its_job_and_keeps_what_was_there(node):
    main(["run"])
    before = node.status()["postgres", "AGX0"]["success_at"]
    node.program("dump", "#!/bin/sh\necho detail >&2; echo the database is down >&2; exit 3\n")
    assert main(["run"]) == 1
    after = node.status()["postgres", "AGX0"]
    assert after["error"] == f"{node.folder}/dump: the database is down"
    assert after["success_at"] == before
    assert (node.folder / "staging/postgres/all").is_file()
    assert len([line for line in node.asked("backup") if "tag=postgres" in line]) == 4, (
        "two of each first try"
    )
    assert ("done", "backup", "ORIN0") in node.events()


def test_a_path_that_is_missing_on_the_node_fails_before_restic_is_asked(node):
    node.plan([{**HOST, "paths": ["/host/no/such/folder"]}])
    assert main(["run"]) == 1
    assert node.status()["backup", "AGX0"]["error"] == "/no/such/folder does not exist"


def test_a_record_that_cannot_be_written_is_a_failure_and_the_next_copy_is_made(node, monkeypatch):
    def full(*_arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(record, "keep", full)
    assert main(["run"]) == 1
    assert len(node.asked("init")) == 2 and len(node.events()) == 8


def test_a_state_that_was_damaged_counts_as_no_backup(node):
    node.write("staging/state.json", '{"copies": [{"job"')
    assert node.status()["backup", "AGX0"] == {"job": "backup", "copy": 1, "store": "AGX0"}


# --- one at a time, and interrupted ---


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize("command", [["run"], ["follow", "--start"]], ids=" ".join)
def test_a_second_run_is_refused_and_names_the_first(capsys, command):
    with record.only_one("PI31"):
        assert main(command) == 75
    said = capsys.readouterr().err
    assert f"a backup runs already: pid {os.getpid()}, since 20" in said
    assert said.endswith(", started by PI31\n")


@pytest.mark.parametrize(("how", "status", "left"), [
    pytest.param(signal.SIGKILL, -9, True, id="killed"),
    pytest.param(signal.SIGTERM, 143, False, id="ended by systemd"),
])  # fmt: skip
def test_after_an_interrupted_run_the_next_one_ends_what_it_left_and_succeeds(node, how, status, left):
    main(["run"])
    before = node.status()["postgres", "AGX0"]
    says = node.write("says_1", HANGS)
    running = multiprocessing.get_context("fork").Process(target=lambda: os._exit(exit_of(["run"])))
    running.start()
    wait_for(node.folder / "hangs")
    assert running.pid
    os.kill(running.pid, how)
    running.join()
    assert running.exitcode == status
    assert bool(leftovers()) == left
    assert node.status()["postgres", "AGX0"] == before
    says.unlink()
    assert main(["run"]) == 0
    assert leftovers() == []


def exit_of(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.01)


# --- databases of SQLite ---


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_copy_of_a_database_is_consistent_while_somebody_writes(tmp_path, mode):
    source, target, stop = tmp_path / "a #1.db", tmp_path / "copies/a.db", threading.Event()
    with closing(sqlite3.connect(source)) as made:
        made.executescript(f"PRAGMA journal_mode={mode}; CREATE TABLE a (x); CREATE TABLE b (x);")

    def write() -> None:
        with closing(sqlite3.connect(source, timeout=20)) as theirs:
            while not stop.is_set():
                with theirs:
                    theirs.execute("INSERT INTO a VALUES (1)")
                    theirs.execute("INSERT INTO b VALUES (1)")
                time.sleep(0.005)  # else it would have the file to itself

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for _ in range(3):
            copy_sqlite(str(source), str(target))
            with closing(sqlite3.connect(f"file:{target}?immutable=1", uri=True)) as copy:
                seen.append(
                    copy.execute("SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b)").fetchone()
                )
    finally:
        stop.set()
        writer.join()
    assert all(first == second for first, second in seen) and seen[-1][0] > seen[0][0]
    assert [path.name for path in target.parent.iterdir()] == ["a.db"], "one file holds all"


def test_databases_are_copied_from_the_volume_to_the_staging_folder(node):
    (node.folder / "volumes/grafana_data").mkdir(parents=True)
    with closing(sqlite3.connect(node.folder / "volumes/grafana_data/grafana.db")) as made:
        made.executescript("CREATE TABLE a (x)")
    job = {"name": "grafana", "sqlite": {"grafana_data": ["grafana.db"]}, "paths": ["/staging/grafana"]}
    node.plan([{**HOST, **job}])
    assert main(["run"]) == 0
    assert (node.folder / "staging/grafana/grafana_data/grafana.db").is_file()


@pytest.mark.parametrize("content", [None, b"SQLite format 3\0" + b"\1" * 4000], ids=["missing", "damaged"])
def test_a_database_that_is_no_good_leaves_the_last_copy(tmp_path, content):
    source, target = tmp_path / "a.db", tmp_path / "copy.db"
    target.write_text("the last copy")
    if content:
        source.write_bytes(content)
    with pytest.raises((FailedError, sqlite3.DatabaseError)):
        copy_sqlite(str(source), str(target))
    assert target.read_text() == "the last copy"


# --- the unit ---

HOUR, NOW = 3600, 1_000_000.0
AGES: dict[str, tuple[Any, str]] = {
    "of the last night": (2 * HOUR, ""),
    "a little ahead of the clock": (-60, ""),
    "too old": (21 * HOUR, "the last copy of backup to AGX0 is 21 h old"),
    "of the future": (-HOUR, "the last copy of backup to AGX0 is of the future: the clock was wrong"),
    "never made": (None, "backup to AGX0 was never copied"),
}


@pytest.mark.parametrize(("age", "reason"), AGES.values(), ids=AGES)
def test_a_backup_is_overdue(age, reason):
    made = {} if age is None else {"success_at": NOW - age}
    good = {"job": "postgres", "store": "AGX0", "success_at": NOW}
    assert overdue([good, {"job": "backup", "store": "AGX0", **made}], NOW) == reason


def test_the_copy_in_a_store_that_is_no_longer_used_counts_for_nothing(node):
    main(["run"])
    plan = record.plan()
    node.write("jobs.json", json.dumps({**plan, "stores": ["AGX0", "NANO"]}))
    assert overdue(record.copies(record.plan()), time.time()) == "postgres to NANO was never copied"


def test_the_fallback_starts_the_unit_once_a_copy_is_overdue_and_says_who_did(node):
    node.program("bin/systemctl", f'#!/bin/sh\necho "$@" >> {node.folder}/systemctl\n')
    assert main(["fallback"]) == 0
    assert (node.folder / "systemctl").read_text() == "start --no-block aicluster-backup.service\n"
    assert aicluster_backup.started_by("") == "the fallback timer"
    assert aicluster_backup.started_by("") == "systemctl", "the note is of one run"
    main(["run"])
    main(["fallback"])
    assert (node.folder / "systemctl").read_text().count("start") == 1


EVENT = {"job": "postgres", "store": "AGX0", "message": ""}
RUN = """#!/bin/sh
if [ "$1" = show ]; then printf 'Result=exit-code\\nExecMainStatus=1\\n'; exit; fi
for event in start failed; do
  printf '{"event": "%s", "job": "a", "store": "AGX0", "message": "no"}\\n' $event >> PROGRESS; sleep 0.1
done
exit 1
"""


def test_who_follows_a_run_sees_its_events_and_gets_its_exit_code(node, capsys):
    (node.folder / "run").mkdir()
    node.write("run/progress", "of the run before\n")
    node.program("bin/systemctl", RUN.replace("PROGRESS", record.PROGRESS))
    assert main(["follow", "--start", "--by", "PI31"]) == 1
    first, second, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], second["event"]) == ("start", "failed")
    assert last == {"event": "end", "failed": [{"job": "a", "store": "AGX0", "message": "no"}]}
    assert aicluster_backup.started_by("") == "PI31"


@pytest.mark.parametrize(("events", "message"), [
    pytest.param(["start", "done"], None, id="a copy that was made"),
    pytest.param(["start"], "the run ended before it (signal)", id="a copy under way when the run was ended"),
])  # fmt: skip
def test_what_failed_in_a_run(events, message):
    lines = [json.dumps({**EVENT, "event": event}) for event in events]
    assert failures(lines, "signal") == ([{**EVENT, "message": message}] if message else [])


@pytest.mark.usefixtures("node")
def test_the_status_names_every_copy_and_who_makes_one_now(capsys):
    with record.only_one("PI31"):
        assert main(["status"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["node"] == "PI52" and said["running"]["by"] == "PI31"
    assert [(one["job"], one["copy"]) for one in said["copies"]] == [
        ("postgres", 1), ("postgres", 2), ("backup", 1), ("backup", 2),
    ]  # fmt: skip
