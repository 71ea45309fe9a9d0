"""What a store of copies checks, removes and says, and what its server is given."""

import base64
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

import aicluster_backup_store as store
import aicluster_textfile
import pytest
import render
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_backup_restic import seconds_of
from aicluster_backup_tools import FailedError
from backups import Folder, snapshot
from tables import cases

NOW = datetime.datetime(2026, 8, 17, 5, 30, tzinfo=datetime.UTC).timestamp()
HOUR = 3600


@cases(("moment", "offset"), {
    "universal time": ("2026-08-17T05:30:00Z", 0),
    "nanoseconds": ("2026-08-17T05:30:00.123456789Z", 0.123456789),
    "east of Greenwich": ("2026-08-17T07:30:00+02:00", 0),
    "west of Greenwich": ("2026-08-17T02:00:00-03:30", 0),
})  # fmt: skip
def test_the_time_of_a_snapshot_is_read(moment, offset):
    assert seconds_of(moment) == pytest.approx(NOW + offset)
    with pytest.raises(FailedError, match="yesterday' is no time"):
        seconds_of(f"{moment}yesterday")


DOCKER = {
    "volume": 'echo "$here/volume"',
    "snapshots": 'cat "$here/snapshots"',
    "--stdin": 'cat > "$here/read"; test ! -e "$here/volume/site/locks/left"',
}


class Night(Folder):
    """A node that stores the copies of PI52 and NANO; of the latter nothing has arrived."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.volume = folder / "volume"
        for name in ("PI52", "GONE"):
            self.repository(name)
        self.docker(**DOCKER)
        self.write("repositories", "NANO other-password\nPI52 its-password\nsite key\n")
        self.write("archive", base64.b64encode(b"the site").decode())
        places = {"STATE": "state", "PASSWORDS": "repositories", "ARCHIVE": "archive", "ROUTER_KEY": "key"}
        self.use(monkeypatch, {store: places, aicluster_textfile: {"FOLDER": "metrics"}})

    def repository(self, name: str) -> None:
        for folder in ("locks", "snapshots"):
            (self.volume / name / folder).mkdir(parents=True)
        self.write(f"volume/{name}/config", "12345")

    def passes(self, *more: str, hours_old: float = 3, wrong_days: int = 0) -> int:
        """Run the program once; return its exit status. `wrong_days`: of the older snapshot's own time."""
        for name, hours in (("newest", hours_old), ("older", 40 * 24)):
            came = time.time() - hours * HOUR
            os.utime(self.write(f"volume/PI52/snapshots/{name}", ""), (came, came))
        told = snapshot("newest", hours_old), snapshot("older", (40 - wrong_days) * 24)
        self.write_json("snapshots", told)
        self.write("asked", "")
        return store.main(["--keep-daily=7", "--keep-weekly=4", "--keep-monthly=6", *more])

    def commands(self, repository: str = "PI52") -> list[str]:
        """Words of restic about a repository, in order."""
        lines = [line for line in self.asked() if f"/store/{repository} " in line]
        return [line.partition(" --retry-lock 2h ")[2] for line in lines]

    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.commands()]

    def error_of(self, node: str) -> str:
        return str(self.read_json("state")[node]["error"])


@pytest.fixture
def night(tmp_path, monkeypatch):
    return Night(tmp_path, monkeypatch)


CHECKED, NEWEST = (
    f'backup_repository_{name}_timestamp_seconds{{repository="PI52"}}'
    for name in ("check", "newest_snapshot")
)


def test_a_person_uses_restic_with_the_password_of_a_repository_and_of_none_that_is_not_here(night, capfd):
    assert store.by_hand(["PI52", "forget", "5a"]) == 0
    said = night.read("asked")
    assert said.startswith("|its-password|exec ") and "its-password" not in said.replace("|its-password|", "")
    assert " --env RESTIC_PASSWORD --env RESTIC_PASSWORD_FILE= backup restic" in said
    assert night.commands() == ["forget 5a"]
    assert store.by_hand(["PI25", "forget", "5a"]) == 2
    assert "no copies of 'PI25' are stored here: write PI52" in capfd.readouterr().err


def test_a_sound_repository_is_checked_pruned_and_measured_and_rid_of_locks_that_no_backup_holds(night):
    for name, minutes in (("held", 10), ("left", 40)):
        os.utime(night.write(f"volume/PI52/locks/{name}", ""), (time.time() - minutes * 60,) * 2)
    assert night.passes() == 0
    assert [path.name for path in (night.volume / "PI52/locks").iterdir()] == ["held"]
    assert night.commands() == [
        "snapshots --json --no-lock",
        f"check --read-data-subset {store.part_of(datetime.date.today())}",
        "forget --group-by host,tags --keep-daily=7 --keep-weekly=4 --keep-monthly=6 --prune",
    ]
    told = night.metrics("backup_store")
    assert told[CHECKED] == pytest.approx(time.time(), abs=60)
    assert told[NEWEST] == pytest.approx(time.time() - 3 * HOUR, abs=60)
    assert 0 < told["backup_store_free_bytes"] < told["backup_store_size_bytes"]
    gone = {key.partition("{")[0] for key in told if "GONE" in key}
    assert gone == {"backup_repository_bytes"}, "it counts even if no node uses it, and nobody checks it"


@cases(("hours_old", "removes", "fails"), {
    "clocks differ by a minute": (-0.02, True, 0),
    "backups stopped": (27, False, 0),
    "a node whose clock is wrong": (-2, False, 1),
})  # fmt: skip
def test_snapshots_are_removed_only_while_new_ones_arrive(night, hours_old, removes, fails):
    assert night.passes(hours_old=hours_old) == fails
    assert night.verbs() == ["snapshots", "check", *(["forget"] if removes else [])]


@pytest.mark.parametrize("wrong_days", [-30, 30], ids=["older", "newer"])
def test_snapshots_with_a_false_time_push_out_no_real_ones(night, wrong_days):
    assert night.passes(wrong_days=wrong_days) == 1
    assert night.verbs() == ["snapshots", "check"]
    error = night.error_of("PI52")
    assert error.startswith("snapshots older came at another time than they tell: nothing is removed before")
    assert f"sudo {store.PROGRAM} restic PI52 forget older" in error


@cases(("script", "kept"), {
    "all of it": ("printf settings | gzip", True),
    "half of it": ("printf settings | gzip | head -c 20", False),
    "nothing": ("echo refused >&2; exit 255", False),
})  # fmt: skip
def test_the_configuration_of_the_router_is_kept_where_all_of_it_came(night, script, kept):
    night.repository("site")
    os.utime(night.write("volume/site/locks/left", ""), (0, 0))
    (night.volume / "site/snapshots").rmdir()
    (night.volume / "site/snapshots").symlink_to(night.volume / "PI52/snapshots")
    night.write("key", "")  # of before a power cut
    night.program("bin/ssh", f'#!/bin/sh\necho "||ssh $*" >> {night.folder}/asked\n{script}\n')
    night.program(
        "bin/ssh-keygen", "#!/bin/sh\nfor last; do :; done\necho secret > $last; echo public > $last.pub\n"
    )
    assert night.passes("--router", "root@192.168.1.1") == (0 if kept else 1)
    [asked] = night.asked("ssh ")
    assert asked.endswith(" root@192.168.1.1") and "-oServerAliveInterval=" in asked
    assert night.read("key") == "secret\n"
    tags = [command.split()[4] for command in night.commands("site") if command.startswith("backup")]
    assert tags == (["site", "router"] if kept else ["site"])
    line = 'authorized_keys must have the line command="sysupgrade -k -b -" public'
    assert night.error_of("site").endswith("" if kept else line)
    assert night.error_of("PI52") == ""


def test_a_site_that_gets_no_repository_is_a_failure(night):
    night.write("on/init", "echo Fatal: no room >&2; exit 1")
    assert night.passes() == 1
    assert night.error_of("site").endswith("Fatal: no room") and night.error_of("PI52") == ""


def test_the_server_sees_no_password_of_a_repository():
    [secret] = [mount for mount in render.container("backup_store")["volumes"] if "secrets" in mount]
    assert secret == "/opt/aicluster/backup_store/secrets/htpasswd:/run/secrets/htpasswd:ro"


check = check_of("backup_store")
FLAGS = "--append-only --private-repos"


def checked(hours_ago: float, error: str = "") -> dict[str, Any]:
    """Constant of the check -> what is in the file it names."""
    return {"STATE": {"PI52": {"error": error, "checked": time.time() - hours_ago * HOUR}}}


SOUND = checked(7)
RESTORES = SOUND | {"DRILLS": [{"node": "PI52", "job": "postgres"}]}
OFFSITE = SOUND | {"OFFSITE_PLAN": {"sources": {"PI52": [], "site": []}}}


def restored(hours_ago: float, error: str = "") -> dict[str, Any]:
    """A job was restored some hours ago, of data three hours old."""
    copy = {"at": time.time() - hours_ago * HOUR, "seconds": 12.5, "age_seconds": 3 * HOUR}
    drill = {"node": "PI52", "job": "postgres", "error": error, "copies": {"1": copy}}
    return RESTORES | {"DRILL_STATE": {"drills": [drill]}}


def off_site(hours_ago: float, error: str = "") -> dict[str, Any]:
    """PI52 was copied off site, the site never was."""
    return OFFSITE | {"OFFSITE_STATE": {"PI52": {"error": error, "newest": time.time() - hours_ago * HOUR}}}


@pytest.fixture
def verified(tmp_path):
    """A function that gives the check a server with some flags, and what the last nights left."""
    for name in ("STATE", "DRILLS", "DRILL_STATE", "OFFSITE_PLAN", "OFFSITE_STATE"):
        setattr(check, name, str(tmp_path / name))
    good = "Basic " + base64.b64encode(b".verify:secret").decode()

    def run(left: dict[str, Any], flags: str = FLAGS) -> ScriptedKit:
        def answers(status: int) -> Any:
            refused = 401 if flags else 404
            return lambda _data, sent: (status if sent.get("Authorization") == good else refused, "")

        for name, content in left.items():
            (tmp_path / name).write_text(json.dumps(content))
        said = {
            "GET /.verify/config": answers(404),
            "GET /another/config": answers(401 if "--private-repos" in flags else 404),
            f"DELETE /.verify/data/{'0' * 64}": answers(403 if "--append-only" in flags else 200),
        }
        active = {
            f"systemctl is-active aicluster-{name}.timer": "active\n" for name in ("backup-store", "drill")
        }
        here = site("AGX0", {"backup_store": {"rest": 8000}})
        return ScriptedKit(here, said, active, {"backup_store/verify": "secret"})

    return run


NEVER = "never {}; `sudo systemctl start aicluster-{}` does it"


@cases(("left", "evidence", "warnings"), {
    "before the first night": ({}, "no repository was checked yet", []),
    "after it": (SOUND, "1 repositories are sound, checked within 8 hours", []),
    "copies were restored": (
        restored(5), "1 jobs restored within 6 hours, the slowest in 12 s, of data up to 4 hours old", []),
    "never restored is a warning": (
        RESTORES, "checked within 8 hours", [NEVER.format("restored: postgres of PI52", "drill")]),
    "never copied off site is a warning": (off_site(9), "copies of 1 are off site, the oldest 9 hours old",
        [NEVER.format("copied off site: site", "offsite")]),
})  # fmt: skip
def test_a_store_is_healthy(verified, left, evidence, warnings):
    said = check.check(verified(left))
    seen, *found = [said] if isinstance(said, str) else said
    assert seen.startswith("strangers refused, nothing can be deleted; ")
    assert evidence in seen
    assert found == warnings


@cases(("left", "flags", "evidence"), {
    "everybody is let in": ({}, "", "answered 404 instead of 401"),
    "copies can be deleted": ({}, "--private-repos", "answered 200 instead of 403"),
    "a node reads the copies of others": ({}, "--append-only", "answered 404 instead of 401"),
    "a damaged repository": (checked(7, "restic check: rc 1"), FLAGS, "copies of PI52: restic check: rc 1"),
    "checks stopped": (checked(60), FLAGS, "last checked 60 hours ago"),
    "the last restore failed, however young the one before": (
        restored(5, "table a is missing"), FLAGS, "restore of postgres of PI52: table a is missing"),
    "two nights without a restore": (restored(49), FLAGS, "postgres of PI52 was last restored 49 hours ago"),
    "a copy off site failed": (off_site(0, "no room"), FLAGS, "copy of PI52 off site: no room"),
    "two nights without a copy off site": (off_site(51), FLAGS, "more than two nights behind off site: PI52"),
})  # fmt: skip
def test_a_store_has_failed(verified, left, flags, evidence):
    failure = failure_of(check.check, verified(left, flags))
    assert evidence in failure.evidence and failure.next_command
