"""What a node brings back, what it keeps of what was there, and what it refuses before any change."""

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import aicluster_backup_job
import aicluster_backup_kept as kept
import aicluster_backup_part
import aicluster_backup_record as record
import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_backup_restore import main
from aicluster_verify import CheckError
from backups import INSPECT, BackupNode, job
from tables import cases

RESTIC = f'exec {sys.executable} -IS "$here/restic.py" "$here" "$@"'
DOCKER = {
    "volume": 'for last; do :; done; echo "$here/volumes/${last#aicluster_}"',
    "inspect": INSPECT,
    "ps": 'echo backup; case "$*" in *_grafana_data*) test -e "$here/stopped" || echo grafana;; esac',
    "stop": 'touch "$here/stopped"',
    "start": 'rm "$here/stopped"',
    "snapshots": 'cat "$here/snapshots.json"',
    "dump": 'for last; do :; done; cat "$here/snapshot$last"',
    "ls": RESTIC,
    "restore": RESTIC,
}
# Stands for the restic that lists and restores: a snapshot is a folder. Options as restic has them.
RESTIC_PROGRAM = """
import json, pathlib, shutil, sys
here, words = pathlib.Path(sys.argv[1]), sys.argv[2:]
named = [word for word in words if not word.startswith("--")]
if "ls" in words:
    folder = here / "snapshot" / named[-1].strip("/")
    for path in [folder, *(folder.rglob("*") if "--recursive" in words else folder.iterdir())]:
        state = path.stat()
        kind = "dir" if path.is_dir() else "file"
        print(json.dumps({"type": kind, "path": "/" + str(path.relative_to(here / "snapshot")),
                          "uid": state.st_uid, "gid": state.st_gid, "mode": state.st_mode},
                         ensure_ascii=False))
    sys.exit()

def options(name):
    return [word[len(name):] for word in words if word.startswith(name)]

binds = dict(reversed(word.split(":")[:2]) for word in options("--volume="))
source = here / "snapshot" / named[named.index("restore") + 1].partition(":")[2].strip("/")
[target] = options("--target=")
real = pathlib.Path(binds.get(target, here / target.strip("/")))
only, never = options("--include=/"), options("--exclude=/")
skipped = lambda one: any((one + "/").startswith(no + "/") for no in never)
meant = lambda one: (not only or one in only) and not skipped(one)
files = [one for one in source.rglob("*") if one.is_file() and meant(str(one.relative_to(source)))]
gone = [one for one in real.rglob("*") if one.is_file() and meant(str(one.relative_to(real)))
        and not (source / one.relative_to(real)).exists()] if "--delete" in words else []
if "--dry-run" not in words:
    for one in files:
        place = real / one.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(one, place)
    for one in gone:
        one.unlink()
size = sum(one.stat().st_size for one in files)
print(json.dumps({"message_type": "status", "bytes_restored": 0, "total_bytes": size}))
print(json.dumps({"message_type": "summary", "files_restored": len(files), "files_deleted": len(gone),
                  "bytes_restored": size, "total_bytes": size}))
"""
RESTORE = """#!/bin/sh
if [ "$1" = --check ]; then echo "checked $3"; exit; fi
echo restored "$@"
cat "$1/all" > HERE/database
"""
BACKUP = "#!/bin/sh\ncat HERE/database > $1/all\n"
GRAFANA = job(
    "grafana",
    sqlite={"grafana_data": ["grafana.db"]},
    paths=["/staging/grafana", "/volumes/grafana_data"],
    exclude=["/volumes/grafana_data/cache", "/volumes/grafana_data/grafana.db"],
)


class Node(BackupNode):
    """A node with four jobs, and a snapshot of each of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder, monkeypatch)
        jobs = [
            GRAFANA,
            job("jupyterhub_bulk", paths=["/volumes/homes"], copies=1),
            job("backup", paths=["/host/etc"]),
            job("postgres", dumps=[str(folder / "postgres/backup")], paths=["/staging/postgres"]),
        ]
        self.plan(*jobs)
        snapshots = [
            {"id": f"{number}{one['name']:x<20}", "tags": [one["name"]], "paths": one["paths"]}
            for number, one in enumerate(jobs, 1)
        ]
        # Of a clock that was ahead; no newest one.
        snapshots.append(snapshots[1] | {"id": "9ahead", "time": "2099-01-01T02:00:00Z"})
        night = {"time": "2026-11-01T02:00:00Z"}
        self.write_json("snapshots.json", [night | one for one in snapshots])
        self.docker(**DOCKER)
        self.write("restic.py", RESTIC_PROGRAM)
        self.program("postgres/restore", RESTORE.replace("HERE", str(folder)))
        self.program("postgres/backup", BACKUP.replace("HERE", str(folder)))
        self.write("snapshot/staging/postgres/all", "as it was")
        self.write("snapshot/staging/postgres/manifest.json", "{}")
        self.write("snapshot/volumes/grafana_data/sub/file", "as it was")
        self.write("snapshot/volumes/homes/alice/notes.ipynb", "as it was")
        self.write("snapshot/host/etc/hosts", "as it was")
        self.database("snapshot/staging/grafana/grafana_data/grafana.db", 1)
        self.database("volumes/grafana_data/grafana.db", 2)
        self.write("volumes/grafana_data/grafana.db-wal", "of the present one")
        self.write("volumes/grafana_data/cache/file", "not copied")
        self.write("volumes/grafana_data/later", "newer")
        self.write("volumes/homes/alice/later.ipynb", "newer")
        self.write("database", "broken")

    def database(self, name: str, value: int) -> None:
        with closing(sqlite3.connect(self.write(name, ""))) as made:
            made.executescript(f"CREATE TABLE a (x); INSERT INTO a VALUES ({value});")

    def made(self) -> Path:
        """The folder of the one restore."""
        [folder] = (path for path in (self.folder / "restore").iterdir() if path.is_dir())
        return folder

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.made() / "record.json").read_text()))


@pytest.fixture
def node(tmp_path, monkeypatch):
    made = Node(tmp_path, monkeypatch)
    made.use(monkeypatch, {aicluster_backup_part: {"ROOT": "restore"}})
    monkeypatch.setattr("signal.signal", lambda *_words: None)
    return made


def test_a_store_that_is_off_is_named_and_the_other_one_is_listed(node, capsys):
    node.write("secrets/store_1", "rest:http://PI52:secret@127.0.0.1:1/PI52/\n")
    grafana, *others = node.read_json("snapshots.json")
    grafana |= {"tags": ["grafana", "before"], "summary": {"total_bytes_processed": 12_300_000}}
    node.write_json("snapshots.json", [grafana, *others])
    assert main(["list"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("grafana, copy 1 on AGX0: 127.0.0.1:1 does not answer: ")
    assert second == "grafana, copy 2 on ORIN0: 1 snapshots"
    assert third == "    1grafana of 2026-11-01 02:00 UTC, 12.3 MB, before a change"


@pytest.mark.parametrize("path", [[], ["--path=grafana_data"]], ids=["of a service", "by its path"])
def test_a_volume_becomes_what_it_was_but_for_what_is_not_copied_and_what_was_there_is_kept(node, path):
    was = node.tree("volumes/grafana_data")
    assert main(["apply", "grafana", "--by", "Ada", *path]) == 0
    found = node.tree("volumes/grafana_data")
    assert found.pop("grafana.db") == node.tree("snapshot/staging/grafana/grafana_data")["grafana.db"]
    assert found == {"sub/file": "as it was", "cache/file": "not copied"}
    assert (node.asked("stop"), node.asked("start")) == (["stop grafana"], ["start grafana"])
    assert node.tree(str(node.made() / "before/grafana_data")) == was
    assert (node.record()["by"], node.record()["error"]) == ("Ada", "")


def test_restic_may_write_the_one_volume_and_read_its_secrets(node):
    main(["apply", "grafana"])
    line = node.asked("run")[-1]
    folder = node.folder
    assert f"--volume={folder}/secrets:/run/secrets/backup:ro" in line
    assert f"--volume={folder}/volumes/grafana_data:/target" in line
    assert line.count("--volume=") == 3, "the third is restic's cache"
    assert "--cap-drop ALL" in line
    assert "--cap-add CHOWN --cap-add FOWNER --cap-add DAC_OVERRIDE --env" in line
    assert "--no-lock" in line, "a store with a full disk has no room for one"


@pytest.mark.parametrize("path", ["/volumes/homes/alice/notes.ipynb", "homes/alice/notes.ipynb"])
def test_one_path_comes_back_and_nothing_beside_it_changes(node, path):
    node.write("snapshot/volumes/homes/alice/of Windows\x85", "Python takes that for an end of line")
    assert main(["apply", "jupyterhub", "--path", path]) == 0
    assert node.tree("volumes/homes") == {"alice/notes.ipynb": "as it was", "alice/later.ipynb": "newer"}


def test_the_path_of_a_database_brings_back_its_copy(node):
    assert main(["apply", "grafana", "--path", "grafana_data/grafana.db"]) == 0
    assert set(node.tree("volumes/grafana_data")) == {"grafana.db", "cache/file", "later"}
    kept = node.tree(str(node.made() / "before"))
    assert set(kept) == {"grafana_data/grafana.db", "grafana_data/grafana.db-wal"}


def test_a_dump_is_taken_back_by_the_program_of_its_service_which_copies_first(node, capsys):
    assert main(["apply", "postgres", "--database", "web"]) == 0
    assert node.read("database") == "as it was"
    assert (node.made() / "before/postgres/all").read_text() == "broken"
    assert "--database=web" in capsys.readouterr().out


def test_the_nodes_own_files_are_laid_beside(node, capsys):
    assert main(["apply", "backup", "--path", "/etc/hosts"]) == 0
    assert (node.made() / "backup/host/etc/hosts").read_text() == "as it was"
    assert "nothing was replaced" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("copy", "jobs"), [("1", ["grafana", "jupyterhub_bulk", "postgres"]), ("2", ["grafana", "postgres"])]
)
def test_all_is_everything_but_the_node_itself_and_no_copy_is_made_where_none_is_wanted(node, copy, jobs):
    assert main(["apply", "all", "--no-safety-copy", "--copy", copy]) == 0
    assert [one["job"] for one in node.record()["jobs"]] == jobs
    assert not (node.made() / "before").exists()


def test_what_is_off_site_is_read_in_the_network_of_the_node_which_the_firewall_lets_out(node, monkeypatch):
    monkeypatch.setenv("RESTIC_REPOSITORY", "b2:bucket:PI52")
    monkeypatch.setattr(aicluster_backup_job, "offsite", {"RESTIC_REPOSITORY": "b2:bucket:PI52"})
    assert main(["plan", "all", "--copy", "offsite"]) == 0
    options = (
        "--network=host --user=0:0 --cap-add=DAC_READ_SEARCH --volumes-from=backup --env RESTIC_REPOSITORY"
    )
    assert {options in line for line in node.asked("run")} == {True} and not node.asked("exec")


def test_after_a_failure_containers_stay_stopped_until_the_next_restore_succeeds(node, capsys):
    node.program("bin/cp", "#!/bin/sh\necho disk broken >&2; exit 1\n")
    assert main(["apply", "grafana"]) == 1
    said = capsys.readouterr().err
    assert "disk broken; stopped for it: grafana (run the restore again)" in said
    assert not node.asked("start")
    assert "disk broken" in node.record()["error"]
    (node.folder / "bin/cp").unlink()
    assert main(["apply", "grafana"]) == 0
    assert node.asked("start") == ["start grafana"]
    assert not list((node.folder / "restore").glob("*.stopped"))


def test_a_plan_says_what_would_change_and_changes_nothing(node, capsys):
    was = {key: text for key, text in node.tree(".").items() if key != "asked"}
    assert main(["plan", "all"]) == 0
    volume, stops, databases, *_, dump, checked = capsys.readouterr().out.splitlines()
    assert volume.endswith(" on AGX0: 1 files (0.0 MB) to write, 2 to delete")
    assert stops.strip() == "stops grafana meanwhile"
    assert databases.endswith(" to write, 0 to delete") and dump.endswith(" to take back")
    assert checked.strip() == "checked"
    now = node.tree(".")
    assert {key: now[key] for key in was} == was and not (node.folder / "restore").exists()


@pytest.mark.parametrize("command", ["plan", "apply"])
@cases(("arguments", "message"), {
    "a service it does not keep": (["grafan"], "PI52 keeps nothing of grafan: write grafana"),
    "a snapshot it does not have": (
        ["grafana", "--snapshot", "1grafama"], "AGX0 has no snapshot 1grafama: write 1grafana"),
    "the snapshot of another service": (
        ["grafana", "--snapshot", "4postgre"], "AGX0 has no snapshot 4postgre: write one of 1grafana"),
    "a store there is not": (["grafana", "--copy", "3"], "there is no copy 3: write one of 1, 2"),
    "what is off site, without a way there": (["grafana", "--copy", "offsite"],
        "the off-site repository is named by playbooks/restore.yml alone: -e copy=offsite"),
    "the second copy of what has one": (
        ["jupyterhub", "--copy", "2"], "jupyterhub has no copy 2: leave out --copy"),
    "a file that is not in the snapshot": (["jupyterhub", "--path", "homes/alice/note.ipynb"],
        "snapshot 2jupyter has no /volumes/homes/alice/note.ipynb: write notes.ipynb"),
    "a database of what has none": (
        ["grafana", "--database", "x"], "nothing of grafana can be restored that way"),
})  # fmt: skip
def test_what_cannot_be_meant_is_refused_before_anything_changes(node, capsys, command, arguments, message):
    was = node.tree("volumes")
    assert main([command, *arguments]) == 2
    assert capsys.readouterr().err == message + "\n"
    assert node.tree("volumes") == was and not (node.folder / "restore").exists()
    assert not node.asked("stop")


def test_a_wrong_password_is_refused_and_the_other_copy_is_named(node, capsys):
    node.docker(snapshots='echo "Fatal: wrong password or no key found" >&2; exit 1')
    assert main(["apply", "grafana"]) == 2
    said = capsys.readouterr().err
    assert said == "copy 1 on AGX0: wrong password or no key found; another copy: --copy 2\n"


def test_a_disk_without_room_is_refused(node, capsys, monkeypatch):
    monkeypatch.setattr(aicluster_backup_part, "SPARE", 1 << 60)
    assert main(["apply", "grafana"]) == 2
    assert "make room there, or restore without a copy" in capsys.readouterr().err
    assert not node.asked("stop")


@pytest.mark.usefixtures("node")
def test_while_a_backup_runs_a_restore_is_refused(capsys):
    with record.only_one("PI31"):
        assert main(["apply", "grafana"]) == 75
    assert f"a backup runs already: pid {os.getpid()}" in capsys.readouterr().err


def test_somebody_who_stops_following_stops_no_restore(node):
    reader, writer = os.pipe()
    os.close(reader)
    code: Any = os.fork()
    if not code:
        os.dup2(writer, 1)
        sys.stdout = os.fdopen(1, "w")
        os._exit(main(["apply", "grafana"]))
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 0
    assert node.asked("start") == ["start grafana"]


# Of two databases `web` has no row.
PSQL = {"postgres: *": lambda argv, _: "web\nother" if "--command" in argv else "ft"[argv[-1] == "web"]}
NIGHT = "is empty, and the backup of 2026-11-01 02:00 UTC has"
ROWS, HERE = check_of("postgres").require_rows, "/repository"


def require_homes(_kit: ScriptedKit) -> None:
    folder = f"{record.STAGING}/homes"
    kept.require_files("jupyterhub_bulk", "every home", folder, "/volumes/homes", "path=homes")


@cases(("check", "here", "had", "store", "told"), {
    "a database": (ROWS, "", "public.notes", HERE, (f"database web {NIGHT} 3 of it",
        "ansible-playbook playbooks/restore.yml -e 'node=PI52 service=postgres copy=1 database=web'")),
    "a database in which nobody wrote": (ROWS, "", "history.users", HERE, None),
    "homes, while the first store is off": (require_homes, ".cache", "ada", "rest:http://127.0.0.1:1/PI52/",
        (f"every home {NIGHT} 1 of it",
            "ansible-playbook playbooks/restore.yml -e 'node=PI52 service=jupyterhub copy=2 path=homes'")),
    "homes in which nobody worked": (require_homes, ".cache", ".cache", HERE, None),
    "homes with a file": (require_homes, "ada", "ada", HERE, None),
})  # fmt: skip
def test_what_is_empty_and_was_not_at_night_is_told_with_its_restore(node, check, here, had, store, told):
    node.write(f"staging/homes/{here}/x", "")
    (node.folder / "snapshot/volumes/homes/alice").rename(node.folder / f"snapshot/volumes/homes/{had}")
    web = {"tables": {had: {"rows": 3}}}
    node.write_json("snapshot/staging/postgres/manifest.json", {"databases": {"web": web}})
    node.write("secrets/store_1", store)
    found = None
    try:
        check(ScriptedKit(site("PI52", {}), commands=PSQL))
    except CheckError as failure:
        found = failure.evidence.partition(";")[0], failure.next_command
    assert found == told
