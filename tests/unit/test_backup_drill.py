"""The drill: which copies a store restores, what it takes for proven, and that nothing of them stays."""

import json
import multiprocessing
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aicluster_drill
import aicluster_drill_kit
import aicluster_textfile
import pytest
import render
from backups import INSPECT, Folder, given_to_store, node, snapshot
from by_path import import_file
from tables import cases
from tree import ROOT

from aicluster.backup.drills import backup_drills

WEB = {"image": "web:1", "uid": 7, "drill": "files/drill.py", "backup": [{"volume": "v"}]}


def restored(nodes: list[dict[str, Any]], store: str = "C") -> list[tuple[str, str, list[str]]]:
    return [(one["node"], one["job"], one["stores"]) for one in backup_drills(nodes, f"host-{store}")]


def test_the_largest_store_alone_restores_its_own_data_from_the_others():
    nodes = [node("B", 50), node("C", 100, web=WEB), node("D", 10)]
    assert restored(nodes) == [("C", "web", ["B", "D"])]
    assert restored(nodes, "B") == restored(nodes, "D") == []


@pytest.mark.parametrize(("name", "first"), [("AGX0", True), ("PI52", False)])
def test_only_the_first_of_all_stores_has_the_passwords_of_others_and_a_timer(name, first):
    files = given_to_store(name)
    assert ("aicluster-drill.timer" in files) is ("drills" in files) is first


DOCKER = {
    "inspect": INSPECT,
    "volume": 'echo "$here/store"',
    "ps": 'cat "$here/containers"',
    "rm": ': > "$here/containers"',
    "snapshots": 'cat "$here/snapshots"',
    "restore": 'for word; do case "$word" in *:/target) echo restored > "${word%:/target}/data";; esac; done',
}
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
    "node": "PI52", "host": "x", "service": "web", "image": "web:1", "uid": 7, "stores": ["AGX0", "ORIN0"],
}  # fmt: skip
# Constant of the program -> its place in the folder of the test.
PLACES = {
    "DRILLS": "drills.json", "STATE": "drill.json", "PROGRAMS": "programs", "SECRETS": "secrets",
    "SCRATCH": "scratch", "LOCK": "lock",
}  # fmt: skip


class Night(Folder):
    """A store with the copies of a job of PI52."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.scratch = folder / "scratch"
        (folder / "store/PI52/locks").mkdir(parents=True)
        self.docker(**DOCKER)
        self.write("programs/web.py", PROGRAM)
        self.drills({"job": "web"})
        self.write("secrets", f"PI52 1 its-password here\nPI52 2 its-password {LOGIN}\n")
        self.write("containers", "")
        self.snapshots(3, 30)
        self.answers(GOOD)

    def drills(self, *changes: dict[str, Any]) -> None:
        """What is to be restored."""
        self.write_json("drills.json", [{**WANTED, **one} for one in changes])

    def snapshots(self, *hours: float, size: int = 5) -> None:
        """What is in the repository: the age of each snapshot."""
        summary = {"total_bytes_processed": size}
        self.write_json("snapshots", [snapshot(f"id{hour}", hour, summary=summary) for hour in hours])

    def answers(self, said: dict[str, Any] | str) -> None:
        """What the drill of the service says next."""
        self.write("answer", said if isinstance(said, str) else json.dumps(said))

    def records(self) -> list[dict[str, Any]]:
        return list(self.read_json("drill.json")["drills"])

    def is_clean(self) -> bool:
        return not self.scratch.exists() and not self.read("containers")


@pytest.fixture
def night(tmp_path, monkeypatch) -> Iterator[Night]:
    made = Night(tmp_path)
    made.use(monkeypatch, {aicluster_drill: PLACES, aicluster_textfile: {"FOLDER": "metrics"}})
    monkeypatch.setattr(aicluster_drill, "FREE_BYTES", 0)
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)


def run(recent_days: int = 0, copy: int = 1) -> int:
    return aicluster_drill.main(["run", f"--recent-days={recent_days}", f"--copy={copy}"])


def test_a_proven_copy_is_measured(night):
    assert run() == 0
    assert night.metrics("drill") == {
        f'{metric}{{copy="1",job_name="web",source="PI52"}}': pytest.approx(value, abs=60)
        for metric, value in {
            "backup_last_restore_drill_success_timestamp_seconds": time.time(),
            "backup_restore_drill_seconds": 0,
            "backup_restore_drill_data_age_seconds": 3 * 3600,
            "backup_restore_drill_rows": 103,
        }.items()
    }


@cases(("number", "address", "network"), {
    "of the copy that is here": (1, "/repository", "none"),
    "of the copy in another store": (2, LOGIN, "host"),
})  # fmt: skip
def test_a_restore_may_write_to_its_folder_and_to_no_copy(night, monkeypatch, number, address, network):
    monkeypatch.setattr(aicluster_drill, "require_answer", lambda _: None)
    run(copy=number)
    listed, restored = night.asked("run ", address)
    assert f"{address}|its-password|{listed}" in night.read("asked") and f"--network {network} " in listed
    assert "--cap-drop ALL" in restored and "--memory 7 " in restored and "--env GOMEMLIMIT=5B " in restored
    assert restored.endswith(" restore id3 --target /target --quiet")
    mounts = [words.split()[0] for words in restored.split("--volume ")[1:]]
    store = f"{night.folder}/store/PI52"
    here = [f"{store}:/repository:ro", f"{store}/locks:/repository/locks"] if number == 1 else []
    assert mounts == [*here, f"{night.scratch}/PI52/web:/target"]
    assert not [line for line in night.asked() if "login" in line or "its-" in line]


@cases(("happens", "error"), {
    "its drill says no": (
        lambda night: night.answers({"ok": False, "evidence": "table a is missing"}), "table a is missing"),
    "its drill says nothing": (lambda night: night.answers(""), "web.py ended with 1 and no answer"),
    "the repository is damaged": (
        lambda night: night.docker(restore='echo "Fatal: ciphertext verification failed" >&2; exit 1'),
        "restic restore: rc 1: Fatal: ciphertext verification failed"),
    "nothing was sent": (lambda night: night.snapshots(), "there is no snapshot of it"),
    "a clock is wrong": (lambda night: night.snapshots(-2, 3), "its newest snapshot is of a time to come"),
    "it does not fit": (lambda night: night.snapshots(1, size=10**18), " MB needed, of which 0 MB stay free"),
    "a table lost more than half, probably by mistake": (
        lambda night: night.answers({**GOOD, "rows": {"a": 49, "b": 3}}), "a has 49 rows, the time before"),
    "a table is gone": (
        lambda night: night.answers({**GOOD, "rows": {"a": 100}}), "b has no rows, the time before 3"),
    "its newest record is old": (lambda night: night.answers({**GOOD, "newest": time.time() - 9 * 86400}),
        "its newest record is 8 days old"),
})  # fmt: skip
def test_a_copy_is_not_proven(night, happens, error):
    run()
    [before] = night.records()
    happens(night)
    assert run(recent_days=7) == 1
    [after] = night.records()
    assert error in after["error"]
    kept = ("copies", "rows", "evidence")
    assert [after[key] for key in kept] == [before[key] for key in kept]
    assert night.is_clean()


def test_a_job_that_fails_keeps_no_other_from_its_drill(night):
    night.drills({"job": "web", "service": "gone"}, {"job": "web_bulk"})
    assert run() == 1
    errors = [one["error"] for one in night.records()]
    assert errors[0].endswith("gone.py ended with 2 and no answer") and errors[1] == ""


def test_a_loss_fails_every_night_until_it_is_accepted(night, capsys):
    run()
    night.answers({**GOOD, "rows": {"a": 0}})
    assert [run(), run()] == [1, 1]
    assert aicluster_drill.main(["accept", "PI52", "wob"]) == 1
    assert "no drill of PI52 wob: must be one of PI52 web" in capsys.readouterr().err
    assert aicluster_drill.main(["accept", "PI52", "web"]) == 0
    assert run() == 0


def test_a_copy_that_moved_to_another_store_is_not_proven_yet(night):
    run()
    night.drills({"job": "web", "stores": ["PI51"]})
    night.answers("")
    run()
    assert night.records()[0]["copies"] == {} and night.metrics("drill") == {}


def in_a_session() -> None:
    """A drill whose processes end together, as systemd ends those of a unit."""
    os.setsid()
    sys.exit(run(copy=1))


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_nothing_stays_of_a_drill_that_is_ended(night, ends):
    night.answers("sleep")
    running = multiprocessing.get_context("fork").Process(target=in_a_session)
    running.start()
    assert running.pid
    while not night.read("containers"):
        assert running.is_alive()
        time.sleep(0.05)
    assert aicluster_drill.main(["run"]) == 75
    assert aicluster_drill.main(["clean"]) == 0 and night.scratch.exists(), "a drill that runs is left alone"
    os.killpg(running.pid, ends)
    running.join()
    assert running.exitcode
    if ends == signal.SIGKILL:
        assert aicluster_drill.main(["clean"]) == 0
    else:
        assert night.records()[0]["error"] == "it was ended half-way"
    assert night.is_clean()


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


def notebooks(folder: Path, *texts: str) -> None:
    home = folder / "volumes/jupyterhub_homes/ada"
    home.mkdir(parents=True)
    for number, text in enumerate(texts):
        (home / f"{number}.ipynb").write_text(text)


@cases(("job", "make", "evidence", "rows"), {
    "a Grafana without a database": ("grafana", Path.mkdir, "grafana.db is not in the copy", None),
    "a Grafana without users": ("grafana", lambda folder: grafana(folder, 0), "grafana.db has no user", None),
    "a damaged database": ("grafana", lambda folder: broken(grafana(folder, 50)), "grafana.db ", None),
    "a hub of which the database is missing": ("jupyterhub",
        lambda folder: notebooks(folder, '{"nbformat": 4}'), "jupyterhub.sqlite is not in the copy", None),
    "homes, one notebook of which a user broke": (
        "jupyterhub_bulk", lambda folder: notebooks(folder, '{"nbformat": 4}', ""),
        "2 notebooks, 1 of 2 opened can be read", {"notebooks": 2}),
    "homes in which no notebook can be read": ("jupyterhub_bulk", lambda folder: notebooks(folder, "", "[]"),
        "none of 2 notebooks can be read, such as ", None),
    "no folder of buckets": ("minio", Path.mkdir, "the copy has no folder of buckets", None),
})  # fmt: skip
def test_a_drill_counts_what_is_good_and_says_what_is_not(tmp_path, job, make, evidence, rows):
    make(tmp_path / job)
    service = job.partition("_")[0]
    program = import_file(f"roles/{service}/files/drill.py", f"drill_{service}")
    said = aicluster_drill_kit.answer(program.drill, str(tmp_path / job))
    assert said["evidence"].startswith(evidence)
    assert (said["ok"], said.get("rows")) == (rows is not None, rows)


# Kong is the stand-in, with the variables of the container.
STANDIN = f"PYTHONPATH={ROOT}/lab/standins/kong exec {sys.executable}"
KONG = {
    "compose": f"""{STANDIN} -c 'import json, sys, yaml
print(json.dumps(yaml.safe_load(open(sys.argv[1]))))' "$3" """,
    "run": f"""for word; do case "$word" in
--env=*) export "${{word#--env=}}";; *:/kong/declarative:ro) top=${{word%%:*}};; esac; done
{STANDIN} -m kong_standin config parse "$top/kong.yml" """,
}  # fmt: skip
SHIPPED = render.render_role("kong")


@cases(("file", "damage", "evidence"), {
    "as it ships": ("secrets/kong.yml", lambda text: text, "Kong reads kong.yml: parse successful"),
    "cut off": ("secrets/kong.yml", lambda text: text[: len(text) // 2], "kong.yml: Failed parsing: "),
    "with a plugin that Kong does not have": ("secrets/kong.yml",
        lambda text: text.replace("name: http-log", "name: bogus", 1),
        "kong.yml: Failed parsing: in 'ai-chat-http-log': plugin 'bogus' "),
    "with a plugin that its settings do not name": ("compose.yaml",
        lambda text: text.replace(",http-log", ""),
        "kong.yml: Failed parsing: in 'ai-chat-http-log': plugin 'http-log' not enabled; "),
    "whose settings are cut off": ("compose.yaml", lambda text: text + "\n:", "compose.yaml: "),
})  # fmt: skip
def test_kong_reads_a_copy_of_its_file_with_its_settings(tmp_path, monkeypatch, file, damage, evidence):
    night, top = Folder(tmp_path), "kong/host/opt/aicluster/kong"
    night.docker(**KONG)
    night.use(monkeypatch, {})
    monkeypatch.setenv("DRILL_IMAGE", "kong:1")
    monkeypatch.setenv("DRILL_UID", "7")
    for name in ("compose.yaml", "secrets/kong.yml"):
        text = SHIPPED[f"/opt/aicluster/kong/{name}"]
        night.write(f"{top}/{name}", damage(text) if name == file else text)
    program = import_file("roles/kong/files/drill.py", "drill_kong")
    said = aicluster_drill_kit.answer(program.drill, str(tmp_path / "kong"))
    assert said["evidence"].startswith(evidence)
    assert said["ok"] is evidence.startswith("Kong reads")
    for argv in night.asked("run "):
        assert "--network none" in argv and "--user 7:0" in argv
        assert argv.endswith(" kong:1 kong config parse /kong/declarative/kong.yml")
