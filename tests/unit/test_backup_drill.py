"""The drill: which copies a store restores, what it takes for proven, and that nothing of them stays."""

import datetime
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aicluster_drill
import aicluster_drill_kit
import aicluster_textfile
import pytest
import render
from by_path import import_file

from aicluster.backup.drills import backup_drills
from aicluster.backup.findings import drill_problems

DAY = 86400
HOST = {node["name"]: node["host"] for node in render.cluster("production")}

# --- which copies, and where ---


def node(name: str, store: int = 0, **services: Any) -> dict[str, Any]:
    own = {"backup": {}, **({"backup_store": {"disk_gb": store}} if store else {})}
    return {"name": name, "host": f"host-{name}", "services": {**own, **services}}


WEB = {"image": "web:1", "uid": 7, "drill": "files/drill.py", "backup": [{"volume": "v"}]}
BULK = [{"volume": "v"}, {"volume": "w", "copies": 1}]
STORES = [node("B", 50), node("C", 100)]


def restored(nodes: list[dict[str, Any]], store: str = "C") -> list[tuple[str, str, list[str]]]:
    return [(one["node"], one["job"], one["stores"]) for one in backup_drills(nodes, f"host-{store}")]


@pytest.mark.parametrize(("services", "drills"), [
    pytest.param({"web": WEB}, [("A", "web", ["C", "B"])], id="a service with a drill"),
    pytest.param({"web": WEB | {"backup": BULK}}, [("A", "web", ["C", "B"]), ("A", "web_bulk", ["C"])],
        id="what has one copy is restored from that one"),
    pytest.param({"web": WEB | {"drill": None}}, [], id="a service without a drill"),
    pytest.param({"web": WEB | {"backup": [{"volume": "v", "none": "It fills again."}]}}, [],
        id="a service that keeps nothing"),
])  # fmt: skip
def test_every_job_of_a_service_with_a_drill_is_restored(services, drills):
    assert restored([node("A", **services), *STORES]) == drills


def test_the_largest_store_alone_restores_its_own_data_from_the_others():
    nodes = [node("B", 50), node("C", 100, web=WEB), node("D", 10)]
    assert restored(nodes) == [("C", "web", ["B", "D"])]
    assert restored(nodes, "B") == restored(nodes, "D") == []


@pytest.mark.parametrize(("mirror", "image"), [("", "web:1"), ("10.0.0.1:5000/", "10.0.0.1:5000/web:1")])
def test_a_drill_uses_the_image_and_the_user_of_the_service(mirror, image):
    [one] = backup_drills([node("A", web=WEB), *STORES], "host-C", mirror)
    assert (one["image"], one["uid"], one["service"]) == (image, 7, "web")


@pytest.mark.parametrize(("entry", "programs", "found"), [
    pytest.param(WEB, ["web/files/drill.py"], [], id="none"),
    pytest.param(WEB, ["art/files/drill.py"], ["must be a Python file below files/ of its role"],
        id="the program is of another role"),
    pytest.param(WEB | {"backup": []}, ["web/files/drill.py"], ["must have something to restore"],
        id="nothing is kept"),
])  # fmt: skip
def test_a_mistake_in_a_drill_is_found(entry, programs, found):
    problems = list(drill_problems({"web": entry, "art": {}}, programs))
    assert [problem.partition(": ")[2].partition(",")[0].partition(";")[0] for problem in problems] == found


# --- what the store is given ---


def given(name: str) -> dict[str, str]:
    return render.render_role("backup_store", host=HOST[name])


def units(name: str) -> list[str]:
    renderer = render.renderer("production", HOST[name])
    return [
        unit["name"]
        for unit in renderer.state("backup_store", renderer.variables("backup_store", {}))["units"]
    ]


def test_only_the_first_of_all_stores_has_the_drill():
    first, other = given("AGX0"), given("PI52")
    assert {path for path in first if "drill" in path} - set(other) == {
        "/etc/systemd/system/aicluster-drill.service",
        "/etc/systemd/system/aicluster-drill.timer",
        "/opt/aicluster/backup_store/drills.json",
        "/opt/aicluster/backup_store/secrets/drills",
        *(
            f"/opt/aicluster/backup_store/drills/{name}.py"
            for name in ("grafana", "jupyterhub", "minio", "postgres")
        ),
    }
    assert "aicluster-drill.timer" in units("AGX0") and "aicluster-drill.timer" not in units("PI52")


def test_the_programs_are_those_of_the_services():
    program = given("AGX0")["/opt/aicluster/backup_store/drills/postgres.py"]
    assert program == (render.ROLES / "postgres/files/drill.py").read_text()


def test_the_keys_are_those_of_the_nodes_whose_copies_are_restored():
    files = given("AGX0")
    lines = [line.split() for line in files["/opt/aicluster/backup_store/secrets/drills"].splitlines()]
    keys = {(name, int(number)): (password, address) for name, number, password, address in lines}
    for one in json.loads(files["/opt/aicluster/backup_store/drills.json"]):
        own = render.render_role("backup", host=one["host"])
        for number, store in enumerate(one["stores"], 1):
            password, address = keys[one["node"], number]
            assert own["/opt/aicluster/backup/secrets/password"] == f"{password}\n"
            there = own[f"/opt/aicluster/backup/secrets/store_{number}"]
            assert f"{address}\n" == ("here\n" if store == "AGX0" else there)


@pytest.mark.usefixtures("night")
def test_the_unit_passes_what_the_program_takes(monkeypatch):
    monkeypatch.setattr(aicluster_drill, "require_answer", lambda _: None)
    lines = given("AGX0")["/etc/systemd/system/aicluster-drill.service"].splitlines()
    for key in ("ExecStart", "ExecStopPost"):
        [arguments] = [line.split("aicluster_drill.py ")[1] for line in lines if line.startswith(f"{key}=")]
        assert aicluster_drill.main(arguments.split()) == 0


# --- a night ---

DOCKER = """#!/bin/sh
here="$(dirname "$0")/.."
case "$1 $2" in
  "inspect backup")
    echo '[{"Image": "sha256:1", "HostConfig": {"Memory": 7}, "Config": {"Env": ["GOMEMLIMIT=5B"]}}]' ;;
  "volume inspect") echo "$here/store" ;;
  "ps --all") cat "$here/containers" ;;
  "rm --force") : > "$here/containers" ;;
  "run --rm")
    printf '%s\\n' "$RESTIC_PASSWORD $RESTIC_REPOSITORY $*" >> "$here/said"
    case "$*" in
      *" snapshots "*) cat "$here/snapshots" ;;
      *" restore "*)
        if [ -e "$here/damaged" ]; then echo "Fatal: ciphertext verification failed" >&2; exit 1; fi
        for word; do case "$word" in *:/target) echo restored > "${word%:/target}/data" ;; esac; done
    esac
esac
"""
PROGRAM = """
import json, os, sys, time
here, folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), sys.argv[1]
assert open(folder + "/data").read() == "restored\\n"
with open(here + "/answer") as file:
    said = file.read()
open(here + "/containers", "w").write("one-of-the-drill\\n")
print("a line before", said, sep="\\n")
time.sleep(60 if said == "sleep" else 0)
sys.exit(0 if said and json.loads(said)["ok"] else 1)
"""
# A port that nobody listens to.
LOGIN = "rest:http://PI52:login@127.0.0.1:9/PI52/"
GOOD = {"ok": True, "evidence": "all is there", "rows": {"a": 100, "b": 3, "c": 0}}
WANTED = {
    "node": "PI52",
    "host": "x",
    "service": "web",
    "image": "web:1",
    "uid": 7,
    "stores": ["AGX0", "ORIN0"],
}


class Night:
    """A store with the copies of a job of PI52."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scratch = folder, folder / "scratch"
        for name in ("bin", "programs", "store/PI52/locks"):
            (folder / name).mkdir(parents=True)
        (folder / "bin/docker").write_text(DOCKER)
        (folder / "bin/docker").chmod(0o755)
        (folder / "programs/web.py").write_text(PROGRAM)
        (folder / "drills.json").write_text(json.dumps([{**WANTED, "job": "web"}]))
        (folder / "secrets").write_text(f"PI52 1 its-password here\nPI52 2 its-password {LOGIN}\n")
        (folder / "containers").write_text("")
        self.snapshots(3, 30)
        self.answers(GOOD)

    def places(self) -> dict[str, str]:
        """Constant of the program -> path."""
        files = {"DRILLS": "drills.json", "STATE": "state/drill.json"}
        names = ("PROGRAMS", "SECRETS", "SCRATCH", "LOCK")
        files |= {name: name.lower() for name in names}
        return {name: str(self.folder / path) for name, path in files.items()}

    def snapshots(self, *hours: float, size: int = 5) -> None:
        """What is in the repository: the age of each snapshot."""
        now = datetime.datetime.now(datetime.UTC)
        (self.folder / "snapshots").write_text(json.dumps([
            {
                "id": f"id{hour}",
                "time": (now - datetime.timedelta(hours=hour)).isoformat(),
                "summary": {"total_bytes_processed": size},
            }
            for hour in hours
        ]))  # fmt: skip

    def answers(self, said: dict[str, Any] | str) -> None:
        """What the drill of the service says next."""
        (self.folder / "answer").write_text(said if isinstance(said, str) else json.dumps(said))

    def record(self) -> dict[str, Any]:
        [one] = json.loads((self.folder / "state/drill.json").read_text())["drills"]
        return dict(one)

    def said(self) -> list[str]:
        return (self.folder / "said").read_text().splitlines()

    def metrics(self) -> dict[str, float]:
        lines = (self.folder / "metrics/aicluster_drill.prom").read_text().splitlines()
        return {
            name: float(value)
            for name, value in (line.split() for line in lines if line[:1] not in ("#", ""))
        }


@pytest.fixture
def night(tmp_path, monkeypatch) -> Iterator[Night]:
    made = Night(tmp_path)
    for name, path in made.places().items():
        monkeypatch.setattr(aicluster_drill, name, path)
    monkeypatch.setattr(aicluster_textfile, "FOLDER", str(tmp_path / "metrics"))
    monkeypatch.setattr(aicluster_drill, "FREE_BYTES", 0)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def run(recent_days: int = 0, copy: int = 1) -> int:
    return aicluster_drill.main(["run", f"--recent-days={recent_days}", f"--copy={copy}"])


def test_a_copy_is_restored_proven_recorded_and_gone(night):
    assert run() == 0
    record = night.record()
    assert (record["error"], record["evidence"], record["rows"]) == ("", "all is there", GOOD["rows"])
    assert record["copies"]["1"] == {
        **record["copies"]["1"],
        "store": "AGX0",
        "snapshot": "id3",
        "count": 103,
    }
    assert night.metrics() == {
        f'{metric}{{copy="1",job_name="web",source="PI52"}}': pytest.approx(value, abs=60)
        for metric, value in {
            "backup_last_restore_drill_success_timestamp_seconds": time.time(),
            "backup_restore_drill_seconds": 0,
            "backup_restore_drill_data_age_seconds": 3 * 3600,
            "backup_restore_drill_rows": 103,
        }.items()
    }
    assert not night.scratch.exists() and not (night.folder / "containers").read_text()


def test_the_copies_take_turns_unless_one_is_asked_for():
    chosen = aicluster_drill.copy_of
    monday, tuesday = datetime.date(2026, 8, 17), datetime.date(2026, 8, 18)
    assert {chosen(WANTED, 0, day) for day in (monday, tuesday)} == {1, 2}
    assert {chosen(WANTED, 2, day) for day in (monday, tuesday)} == {2}


@pytest.mark.parametrize("copy", [0, 1, 2])
def test_what_has_one_copy_is_restored_from_that_one(copy):
    days = [datetime.date(2026, 8, day) for day in (17, 18)]
    assert {aicluster_drill.copy_of({**WANTED, "stores": ["AGX0"]}, copy, day) for day in days} == {1}


@pytest.mark.parametrize(("number", "address", "network"), [
    pytest.param(1, "/repository", "none", id="of the copy that is here"),
    pytest.param(2, LOGIN, "host", id="of the copy in another store"),
])  # fmt: skip
def test_a_restore_may_write_to_its_folder_and_to_no_copy(night, monkeypatch, number, address, network):
    monkeypatch.setattr(aicluster_drill, "require_answer", lambda _: None)
    run(copy=number)
    listed, restored = night.said()
    assert listed.startswith(f"its-password {address} run ") and f"--network {network} " in listed
    assert "--cap-drop ALL" in restored and "--memory 7 " in restored and "--env GOMEMLIMIT=5B " in restored
    assert restored.endswith(" restore id3 --target /target --quiet")
    mounts = [words.split()[0] for words in restored.split("--volume ")[1:]]
    store = f"{night.folder}/bin/../store/PI52"
    here = [f"{store}:/repository:ro", f"{store}/locks:/repository/locks"] if number == 1 else []
    assert mounts == [*here, f"{night.scratch}/PI52/web:/target"]
    assert not [line for line in night.said() if "login" in line.partition(" run ")[2] or "its-" in line[1:]]


FAILURES: dict[str, tuple[Callable[[Night], object], str]] = {
    "its drill says no": (
        lambda night: night.answers({"ok": False, "evidence": "table a is missing"}), "table a is missing",
    ),
    "its drill says nothing": (lambda night: night.answers(""), "web.py ended with 1 and no answer"),
    "the repository is damaged": (
        lambda night: (night.folder / "damaged").touch(),
        "restic restore: rc 1: Fatal: ciphertext verification failed",
    ),
    "nothing was sent": (lambda night: night.snapshots(), "there is no snapshot of it"),
    "a clock is wrong": (lambda night: night.snapshots(-2, 3), "its newest snapshot is of a time to come"),
    "it does not fit": (lambda night: night.snapshots(1, size=10**18), "it has 1000000000000 MB, and"),
    "a table was emptied by mistake": (
        lambda night: night.answers({**GOOD, "rows": {"a": 99, "b": 0}}), "b has 0 rows, the time before 3",
    ),
    "a table lost more than half": (
        lambda night: night.answers({**GOOD, "rows": {"a": 49, "b": 3}}), "a has 49 rows, the time before",
    ),
    "a table is gone": (
        lambda night: night.answers({**GOOD, "rows": {"a": 100}}), "b has no rows, the time before 3",
    ),
    "its newest record is old": (
        lambda night: night.answers({**GOOD, "newest": time.time() - 9 * DAY}),
        "its newest record is 8 days old",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("happens", "error"), FAILURES.values(), ids=FAILURES)
def test_a_copy_is_not_proven(night, happens, error):
    run()
    before = night.record()
    happens(night)
    assert run(recent_days=7) == 1
    after = night.record()
    assert error in after["error"]
    kept = ("copies", "rows", "evidence")
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert not night.scratch.exists() and not (night.folder / "containers").read_text()


@pytest.mark.parametrize(("said", "recent_days"), [
    pytest.param({**GOOD, "rows": {"a": 50, "b": 9}}, 0, id="half of a table is left"),
    pytest.param({**GOOD, "newest": time.time() - 5 * DAY}, 7, id="the newest record is younger than that"),
    pytest.param({**GOOD, "newest": time.time() - 900 * DAY}, 0, id="records may have any age"),
    pytest.param({"ok": True, "evidence": "sound", "rows": GOOD["rows"]}, 7, id="nothing says how old it is"),
])  # fmt: skip
def test_a_copy_is_proven(night, said, recent_days):
    run()
    night.answers(said)
    assert run(recent_days) == 0


def test_a_store_that_is_off_fails_at_once(night):
    assert run(copy=2) == 1
    assert night.record()["error"].startswith("127.0.0.1:9 does not answer: ")


def test_a_job_that_fails_keeps_no_other_from_its_drill(night):
    (night.folder / "drills.json").write_text(json.dumps([
        {**WANTED, "job": "web", "service": "gone"}, {**WANTED, "job": "web_bulk"},
    ]))  # fmt: skip
    assert run() == 1
    errors = [one["error"] for one in json.loads((night.folder / "state/drill.json").read_text())["drills"]]
    assert errors[0].endswith("gone.py ended with 2 and no answer") and errors[1] == ""


def test_a_loss_that_is_intended_is_accepted_once(night, capsys):
    run()
    night.answers({**GOOD, "rows": {"a": 1}})
    assert run() == 1
    assert aicluster_drill.main(["accept", "PI52", "wob"]) == 1
    assert "no drill of PI52 wob: must be one of PI52 web" in capsys.readouterr().err
    assert aicluster_drill.main(["accept", "PI52", "web"]) == run() == 0
    assert night.record()["rows"] == {"a": 1}


def test_a_copy_that_moved_to_another_store_is_not_proven_yet(night):
    run()
    (night.folder / "drills.json").write_text(json.dumps([{**WANTED, "job": "web", "stores": ["PI51"]}]))
    night.answers("")
    run()
    assert night.record()["copies"] == {} and night.metrics() == {}


PATCHED = """
import sys, aicluster_drill, aicluster_textfile
places = dict(word.split("=") for word in sys.argv[1:])
aicluster_textfile.FOLDER = places.pop("FOLDER")
vars(aicluster_drill).update(places, FREE_BYTES=0)
sys.exit(aicluster_drill.main(["run", "--copy=1"]))
"""


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_nothing_stays_of_a_drill_that_is_ended(night, ends):
    night.answers("sleep")
    places = {**night.places(), "FOLDER": str(night.folder / "metrics")}
    command = [sys.executable, "-c", PATCHED, *(f"{name}={path}" for name, path in places.items())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # Of a session of its own, as systemd ends all processes of a unit.
    running = subprocess.Popen(command, env=environment, start_new_session=True)
    while not (night.folder / "containers").read_text():
        assert running.poll() is None
        time.sleep(0.05)
    assert aicluster_drill.main(["run"]) == aicluster_drill.REFUSED
    assert aicluster_drill.main(["clean"]) == 0 and night.scratch.exists(), "a drill that runs is left alone"
    os.killpg(running.pid, ends)
    assert running.wait() != 0
    if ends == signal.SIGKILL:
        assert aicluster_drill.main(["clean"]) == 0
    else:
        assert night.record()["error"] == "it was ended half-way"
    assert not night.scratch.exists() and not (night.folder / "containers").read_text()


# --- what services take for good ---


def database(path: Path, table: str, rows: int) -> None:
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as made, made:
        made.execute(f'CREATE TABLE "{table}" (name TEXT)')
        made.executemany(f'INSERT INTO "{table}" VALUES (?)', [("x" * 2000,)] * rows)


def broken(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)


def grafana(folder: Path, rows: int = 2) -> Path:
    database(folder / "staging/grafana/grafana_data/grafana.db", "user", rows)
    return folder / "staging/grafana/grafana_data/grafana.db"


def hub(folder: Path) -> Path:
    database(folder / "staging/jupyterhub/jupyterhub_state/jupyterhub.sqlite", "users", 3)
    return folder


def notebooks(folder: Path, *texts: str) -> None:
    home = folder / "volumes/jupyterhub_homes/ada"
    home.mkdir(parents=True)
    for number, text in enumerate(texts):
        (home / f"{number}.ipynb").write_text(text)


def objects(folder: Path, *names: str) -> None:
    (folder / "staging/minio").mkdir(parents=True)
    for name in names:
        (folder / "staging/minio" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "staging/minio" / name).write_text("x")


def asked(job: str, folder: Path, make: Callable[[Path], object]) -> dict[str, Any]:
    service = job.partition("_")[0]
    make(folder / job)
    program = import_file(f"roles/{service}/files/drill.py", f"drill_{service}")
    return aicluster_drill_kit.answer(program.drill, str(folder / job))


SOUND: dict[str, tuple[str, Callable[[Path], object], str, dict[str, int]]] = {
    "a Grafana with users": ("grafana", grafana, "grafana.db is sound and has 2 users", {"user": 2}),
    "a hub": ("jupyterhub", hub, "jupyterhub.sqlite is sound and has 3 users", {"users": 3}),
    "homes, one notebook of which a user broke": (
        "jupyterhub_bulk", lambda folder: notebooks(folder, '{"nbformat": 4}', ""),
        "2 notebooks, 1 of 2 opened can be read", {"notebooks": 2},
    ),
    "homes without a notebook": (
        "jupyterhub_bulk", notebooks, "0 notebooks, 0 of 0 opened can be read", {"notebooks": 0},
    ),
    "buckets": (
        "minio", lambda folder: objects(folder, "images/a/1.png", "images/2.png", "code/3"),
        "3 objects in 2 buckets, 3 read in full (0 MB)", {"code": 1, "images": 2},
    ),
    "a store without a bucket": ("minio", objects, "0 objects in 0 buckets, 0 read in full (0 MB)", {}),
}  # fmt: skip


@pytest.mark.parametrize(("job", "make", "evidence", "rows"), SOUND.values(), ids=SOUND)
def test_a_drill_takes_it_for_good(tmp_path, job, make, evidence, rows):
    assert asked(job, tmp_path, make) == {"ok": True, "evidence": evidence, "rows": rows}


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a Grafana without a database": ("grafana", Path.mkdir, "grafana.db is not in the copy"),
    "a Grafana without users": ("grafana", lambda folder: grafana(folder, 0), "grafana.db has no user"),
    "a damaged database": ("grafana", lambda folder: broken(grafana(folder, 50)), "grafana.db "),
    "a hub of which the database is missing": (
        "jupyterhub", lambda folder: notebooks(folder, '{"nbformat": 4}'),
        "jupyterhub.sqlite is not in the copy",
    ),
    "homes in which no notebook can be read": (
        "jupyterhub_bulk", lambda folder: notebooks(folder, "", "[]"),
        "none of 2 notebooks can be read, such as ",
    ),
    "no folder of buckets": ("minio", Path.mkdir, "the copy has no folder of buckets"),
}  # fmt: skip


@pytest.mark.parametrize(("job", "make", "evidence"), BAD.values(), ids=BAD)
def test_a_drill_takes_it_for_bad(tmp_path, job, make, evidence):
    said = asked(job, tmp_path, make)
    assert not said["ok"] and said["evidence"].startswith(evidence)


postgres = import_file("roles/postgres/files/drill.py", "drill_postgres")
DUMPED = {"public.a": {"rows": 3, "checksum": "7"}, "public.b": {"rows": 0, "checksum": "0"}}


@pytest.mark.parametrize(("found", "wrong"), [
    pytest.param(DUMPED, [], id="as dumped"),
    pytest.param(DUMPED | {"public.a": {"rows": 2, "checksum": "5"}},
        ["table public.a has 2 rows instead of 3"], id="rows are missing"),
    pytest.param(DUMPED | {"public.a": {"rows": 3, "checksum": "8"}},
        ["table public.a has other contents"], id="a value is another one"),
    pytest.param({"public.a": DUMPED["public.a"], "public.c": DUMPED["public.b"]},
        ["table public.b is missing", "table public.c is not in the manifest"], id="other tables"),
])  # fmt: skip
def test_a_restored_database_is_compared_with_the_manifest(found, wrong):
    assert list(postgres.differences(DUMPED, found)) == wrong
