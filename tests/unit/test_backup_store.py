"""What a store of copies checks, removes and says, and what its server is given."""

import base64
import datetime
import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import aicluster_backup_store as store
import aicluster_textfile
import pytest
import render
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_backup_restic import seconds_of, why_not_prune
from aicluster_backup_tools import FailedError
from aicluster_textfile import text
from backups import Folder

from aicluster.backup.secrets import backup_secret

NOW = datetime.datetime(2026, 8, 17, 5, 30, tzinfo=datetime.UTC).timestamp()
HOUR = 3600


@pytest.mark.parametrize(("moment", "offset"), [
    pytest.param("2026-08-17T05:30:00Z", 0, id="universal time"),
    pytest.param("2026-08-17T05:30:00.25Z", 0.25, id="a fraction"),
    pytest.param("2026-08-17T05:30:00.123456789Z", 0.123456789, id="nanoseconds"),
    pytest.param("2026-08-17T07:30:00+02:00", 0, id="east of Greenwich"),
    pytest.param("2026-08-17T02:00:00-03:30", 0, id="west of Greenwich"),
])  # fmt: skip
def test_the_time_of_a_snapshot_is_read(moment, offset):
    assert seconds_of(moment) == pytest.approx(NOW + offset)


def test_a_time_that_is_none_is_refused():
    with pytest.raises(FailedError, match="'yesterday' is no time"):
        seconds_of("yesterday")


def test_thirty_days_in_a_row_read_all_parts():
    first = datetime.date(2026, 2, 20)
    parts = {store.part_of(first + datetime.timedelta(days=day)) for day in range(30)}
    assert parts == {f"{part}/30" for part in range(1, 31)}


@pytest.mark.parametrize(("newest", "reason"), [
    pytest.param(NOW - 3 * HOUR, "", id="the backup of the night"),
    pytest.param(NOW + 60, "", id="clocks differ by a minute"),
    pytest.param(None, "no snapshot", id="an empty repository"),
    pytest.param(NOW - 27 * HOUR, "27 hours old", id="backups stopped"),
    pytest.param(NOW + 2 * HOUR, "of a time to come", id="a node whose clock is wrong"),
])  # fmt: skip
def test_snapshots_are_removed_only_while_new_ones_arrive(newest, reason):
    said = why_not_prune(newest, NOW)
    assert (reason in said) and bool(said) is bool(reason)


def test_a_lock_is_removed_once_no_backup_can_hold_it(tmp_path):
    for name, age_s in (("held", 10 * 60), ("left", 40 * 60)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (NOW - age_s, NOW - age_s))
    store.remove_left_locks(str(tmp_path), NOW)
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


# --- a night ---

DOCKER = """#!/bin/sh
case "$*" in
  volume*) echo "$STORE_FOLDER" ;;
  *"$STORE_FAILS"*) echo "Fatal: repository contains errors" >&2; exit 1 ;;
  *" snapshots "*) echo "$STORE_SNAPSHOTS" ;;
  *--interactive*) cat > "$STORE_FOLDER/../read" ;;
esac
printf '%s|%s\\n' "$RESTIC_PASSWORD" "$*" >> "$STORE_FOLDER/../asked"
"""


class Night(Folder):
    """A node that stores the copies of PI52 and NANO; of the latter nothing has arrived."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.volume, self.environment = folder / "volume", monkeypatch
        for name in ("PI52", "GONE"):
            (self.volume / name / "locks").mkdir(parents=True)
            (self.volume / name / "snapshots").mkdir()
            (self.volume / name / "config").write_text("12345")
        self.program("bin/docker", DOCKER)
        self.write("repositories", "NANO other-password\nPI52 its-password\nsite key\n")
        self.write("archive", base64.b64encode(b"the site").decode())
        places = {"STATE": "state", "PASSWORDS": "repositories", "ARCHIVE": "archive", "ROUTER_KEY": "key"}
        self.use(monkeypatch, {store: places, aicluster_textfile: {"FOLDER": "metrics"}})
        monkeypatch.setenv("STORE_FOLDER", str(self.volume))

    def passes(
        self, *more: str, fails: str = "no command", hours_old: int = 3, tells: timedelta = timedelta()
    ) -> int:
        """Run the program once; return its exit status. `tells`: how wrong a snapshot's own time is."""
        snapshots = []
        for name, age in (("newest", timedelta(hours=hours_old)), ("older", timedelta(days=40))):
            came = datetime.datetime.now(datetime.UTC) - age
            (self.volume / "PI52" / "snapshots" / name).write_text("")
            os.utime(self.volume / "PI52" / "snapshots" / name, (came.timestamp(), came.timestamp()))
            snapshots.append({"id": name, "short_id": name, "time": came.isoformat()})
        snapshots[1]["time"] = (came + tells).isoformat()
        self.environment.setenv("STORE_FAILS", fails)
        self.environment.setenv("STORE_SNAPSHOTS", json.dumps(snapshots))
        self.write("asked", "")
        return store.main(["--keep-daily=7", "--keep-weekly=4", "--keep-monthly=6", *more])

    def commands(self, repository: str = "PI52") -> list[str]:
        """Words of restic about a repository, in order."""
        lines = [line for line in self.asked() if f"/store/{repository} " in line]
        return [line.partition(" --retry-lock 2h ")[2] for line in lines]

    def verbs(self) -> list[str]:
        return [command.split()[0] for command in self.commands()]

    def metrics(self) -> list[str]:
        return self.read("metrics/aicluster_backup_store.prom").splitlines()

    def state_of(self, node: str) -> dict[str, Any]:
        return dict(json.loads(self.read("state"))[node])

    def metric(self, name: str) -> dict[str, float]:
        """Label -> value."""
        lines = [line for line in self.metrics() if line.startswith(f"{name}{{")]
        return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


@pytest.fixture
def night(tmp_path, monkeypatch):
    return Night(tmp_path, monkeypatch)


CHECKED, NEWEST = (f"backup_repository_{name}_timestamp_seconds" for name in ("check", "newest_snapshot"))


def test_a_person_uses_restic_with_the_password_of_a_repository_and_of_none_that_is_not_here(night, capfd):
    night.environment.setenv("STORE_FAILS", "no command")
    assert store.by_hand(["PI52", "forget", "5a"]) == 0
    assert night.asked()[-1].startswith("its-password|exec ")
    assert night.commands() == ["forget 5a"]
    assert store.by_hand(["PI25", "forget", "5a"]) == 2
    assert "no copies of 'PI25' are stored here: write PI52" in capfd.readouterr().err


def test_a_sound_repository_is_checked_pruned_and_measured(night):
    assert night.passes() == 0
    assert night.commands() == [
        "snapshots --json --no-lock",
        f"check --read-data-subset {store.part_of(datetime.date.today())}",
        "forget --group-by host,tags --keep-daily=7 --keep-weekly=4 --keep-monthly=6 --prune",
    ]
    assert night.metric(CHECKED)["PI52"] == pytest.approx(time.time(), abs=60)
    assert night.metric(NEWEST)["PI52"] == pytest.approx(time.time() - 3 * HOUR, abs=60)
    disk = dict(line.split() for line in night.metrics() if line.startswith("backup_store_"))
    assert 0 < float(disk["backup_store_free_bytes"]) < float(disk["backup_store_size_bytes"])


def test_a_password_is_in_the_environment_and_in_no_argument(night):
    night.passes()
    said = night.read("asked")
    assert "its-password|exec" in said
    assert " --env RESTIC_PASSWORD --env RESTIC_PASSWORD_FILE= backup restic" in said
    assert "its-password" not in said.replace("its-password|", "")


@pytest.mark.parametrize("command", [" snapshots ", " check "])
def test_what_is_not_sound_is_not_pruned_and_keeps_the_time_of_its_last_check(night, command):
    night.passes()
    before = night.metric(CHECKED)
    assert night.passes(fails=command) == 1
    assert "forget" not in night.verbs()
    assert night.metric(CHECKED) == before
    error = night.state_of("PI52")["error"]
    assert error == f"restic {command.strip()}: rc 1: Fatal: repository contains errors"
    assert night.passes() == 0
    assert night.state_of("PI52")["error"] == "", "a good night forgets it"


def test_a_node_that_no_longer_sends_loses_nothing(night):
    assert night.passes(hours_old=30) == 0
    assert night.verbs() == ["snapshots", "check"]


@pytest.mark.parametrize("tells", [timedelta(days=-30), timedelta(days=30)], ids=["older", "newer"])
def test_snapshots_with_a_false_time_push_out_no_real_ones(night, tells):
    assert night.passes(tells=tells) == 1
    assert night.verbs() == ["snapshots", "check"]
    error = night.state_of("PI52")["error"]
    assert error.startswith("snapshots older came at another time than they tell: nothing is removed before")
    assert f"sudo {store.PROGRAM} restic PI52 forget older" in error


def test_the_size_of_a_repository_counts_even_if_no_node_uses_it(night):
    night.passes()
    assert night.metric("backup_repository_bytes") == {"GONE": 5.0, "PI52": 5.0}


def test_a_repository_of_which_nothing_is_known_has_no_time():
    said = text(store.samples({"PI52": {"error": "locked", "newest": None}}, {}, {"free": 7.0}), store.HELP)
    assert [line for line in said.splitlines() if not line.startswith("#")] == ["backup_store_free_bytes 7.0"]


# --- the site itself ---

ROUTER = ("--router", "root@192.168.1.1")


def test_every_night_adds_the_copy_of_the_site_and_makes_its_repository_first(night):
    assert night.passes() == 0
    assert night.commands("site") == [
        "init", "backup --host site --tag site --stdin --stdin-filename site.tar.gz",
    ]  # fmt: skip
    assert night.read("read") == "the site"
    assert "key|exec --interactive --workdir /cache --env RESTIC_PASSWORD --env" in night.read("asked")


@pytest.mark.parametrize(("script", "kept"), [
    pytest.param("printf settings | gzip", True, id="all of it"),
    pytest.param("printf settings | gzip | head -c 20", False, id="half of it"),
    pytest.param("echo refused >&2; exit 255", False, id="nothing"),
])  # fmt: skip
def test_the_configuration_of_the_router_is_kept_where_all_of_it_came(night, script, kept):
    (night.volume / "site").mkdir()
    (night.volume / "site/snapshots").symlink_to(night.volume / "PI52/snapshots")
    (night.volume / "site/locks").mkdir()
    (night.volume / "site/config").write_text("12345")
    night.program("bin/ssh", f'#!/bin/sh\necho "ssh $*" >> "$STORE_FOLDER/../asked"\n{script}\n')
    night.program(
        "bin/ssh-keygen", "#!/bin/sh\nfor last; do :; done\necho secret > $last; echo public > $last.pub\n"
    )
    assert night.passes(*ROUTER) == (0 if kept else 1)
    [asked] = night.asked("ssh ")
    assert asked.endswith(" root@192.168.1.1")
    tags = [command.split()[4] for command in night.commands("site") if command.startswith("backup")]
    assert tags == (["site", "router"] if kept else ["site"])
    line = 'authorized_keys must have the line command="sysupgrade -k -b -" public'
    assert night.state_of("site")["error"].endswith("" if kept else line)
    assert night.state_of("PI52")["error"] == ""


# --- its server ---


def files(name: str) -> dict[str, str]:
    """Last part of the path -> content of what the store on a node is given."""
    [node] = [node for node in render.cluster("production") if node["name"] == name]
    return {
        path.rpartition("/")[2]: content
        for path, content in render.render_role("backup_store", host=node["host"]).items()
    }


def test_a_store_lets_in_the_nodes_that_use_it_and_knows_their_repositories():
    given, clients = files("ORIN0"), ["AGX0", "PI52"]
    logins = [line.partition(":")[0] for line in given["htpasswd"].splitlines()]
    assert logins == [*clients, ".verify", "site"]
    assert given["repositories"].splitlines() == [
        *(f"{node} {backup_secret('made-up-backup-password', f'repository {node}')}" for node in clients),
        f"site {backup_secret('made-up-site-key', 'repository site')}",
    ]


def test_the_server_sees_no_password_of_a_repository():
    [secret] = [mount for mount in render.container("backup_store")["volumes"] if "secrets" in mount]
    assert secret == "/opt/aicluster/backup_store/secrets/htpasswd:/run/secrets/htpasswd:ro"


def test_the_unit_passes_what_the_program_takes(night):
    [start] = [
        line for line in files("AGX0")["aicluster-backup-store.service"].splitlines() if "ExecStart=" in line
    ]
    program, *arguments = start.split()[1:]
    assert program == "/opt/aicluster/bin/aicluster_backup_store.py"
    night.passes()
    assert store.main(arguments) == 0


# --- its check ---

check = check_of("backup_store")
PATHS = ("/.verify/config", "/another/config", f"/.verify/data/{'0' * 64}")
SOUND = {"error": "", "checked": time.time() - 7 * HOUR, "newest": time.time() - 9 * HOUR}


def server(flags: str = "--append-only --private-repos") -> dict[str, Any]:
    """Answers of rest-server with these flags."""
    good = "Basic " + base64.b64encode(b".verify:secret").decode()

    def answers(status: int) -> Any:
        return lambda _data, sent: (status if sent.get("Authorization") == good else 401, "")

    own, others, data = PATHS
    return {
        f"GET {own}": answers(404),
        f"GET {others}": answers(401 if "--private-repos" in flags else 404),
        f"DELETE {data}": answers(403 if "--append-only" in flags else 200),
    }


@pytest.fixture
def verified(tmp_path):
    """A function that runs the check against a server and the state that the last night left."""
    for name in ("STATE", "DRILLS", "DRILL_STATE", "OFFSITE_PLAN", "OFFSITE_STATE"):
        setattr(check, name, str(tmp_path / name))

    def run(state: Any, answers: Any = None, timer: Any = "active\n") -> ScriptedKit:
        if state is not None:
            Path(check.STATE).write_text(json.dumps(state))
        return ScriptedKit(
            site("AGX0", {"backup_store": {"rest": 8000}}),
            server() if answers is None else answers,
            {f"systemctl is-active aicluster-{name}.timer": timer for name in ("backup-store", "drill")},
            {"backup_store/verify": "secret"},
        )

    return run


@pytest.mark.parametrize(("state", "evidence"), [
    pytest.param(None, "no repository was checked yet", id="before the first night"),
    pytest.param({"PI52": {"error": ""}}, "no repository was checked yet", id="in the first night"),
    pytest.param({"PI52": SOUND}, "1 repositories are sound, checked within 8 hours", id="after it"),
])  # fmt: skip
def test_a_store_is_healthy(verified, state, evidence):
    assert check.check(verified(state)) == f"strangers refused, nothing can be deleted; {evidence}"


@pytest.mark.parametrize(("state", "flags", "evidence"), [
    pytest.param({}, "--private-repos", "answered 200 instead of 403", id="copies can be deleted"),
    pytest.param({}, "--append-only", "answered 404 instead of 401", id="a node reads the copies of others"),
    pytest.param({"PI52": {"error": "restic check: rc 1"}}, "", "copies of PI52: restic check: rc 1",
        id="a damaged repository"),
    pytest.param({"PI52": SOUND | {"checked": time.time() - 60 * HOUR}}, "", "last checked 60 hours ago",
        id="checks stopped"),
])  # fmt: skip
def test_a_store_has_failed(verified, state, flags, evidence):
    failure = failure_of(check.check, verified(state, server(flags) if flags else None))
    assert evidence in failure.evidence and failure.next_command


def test_a_store_whose_server_lets_everybody_in_has_failed(verified):
    answers = dict.fromkeys(server(), (404, ""))
    assert "answered 404 instead of 401" in failure_of(check.check, verified({}, answers)).evidence


def drilled(hours_ago: float, **more: Any) -> dict[str, Any]:
    """What is known of a job that was restored some hours ago, of data three hours old."""
    copy = {"at": time.time() - hours_ago * HOUR, "seconds": 12.5, "age_seconds": 3 * HOUR}
    return {"node": "PI52", "job": "postgres", "error": "", "copies": {"1": copy}, **more}


def with_drills(verified: Any, *known: dict[str, Any]) -> ScriptedKit:
    """The first of all stores, which restores postgres."""
    kit: ScriptedKit = verified({"PI52": SOUND})
    Path(check.DRILLS).write_text('[{"node": "PI52", "job": "postgres"}]')
    if known:
        Path(check.DRILL_STATE).write_text(json.dumps({"drills": known}))
    return kit


def test_the_last_restore_is_told_with_its_time_and_the_age_of_its_data(verified):
    said = "; 1 jobs restored within 6 hours, the slowest in 12 s, of data up to 4 hours old"
    assert check.check(with_drills(verified, drilled(5))).endswith(said)


def test_never_restored_is_a_warning(verified):
    _, warning = check.check(with_drills(verified))
    assert warning == "never restored: postgres of PI52; `sudo systemctl start aicluster-drill` does it"


@pytest.mark.parametrize(("known", "evidence"), [
    pytest.param(drilled(5, error="table a is missing"), "restore of postgres of PI52: table a is missing",
        id="the last one failed, however young the one before"),
    pytest.param(drilled(49), "postgres of PI52 was last restored 49 hours ago", id="two nights without"),
])  # fmt: skip
def test_a_store_that_proves_no_copies_has_failed(verified, known, evidence):
    failure = failure_of(check.check, with_drills(verified, known))
    assert failure.evidence == evidence and failure.next_command


def off_site(verified: Any, **known: dict[str, Any]) -> ScriptedKit:
    """The first of all stores, which copies PI52 and the site off site."""
    Path(check.OFFSITE_PLAN).write_text('{"sources": {"PI52": [], "site": []}}')
    Path(check.OFFSITE_STATE).write_text(json.dumps(known))
    kit: ScriptedKit = verified({"PI52": SOUND})
    return kit


def test_what_is_off_site_is_told_and_what_never_was_is_a_warning(verified):
    seen, warning = check.check(off_site(verified, PI52={"error": "", "newest": time.time() - 9 * HOUR}))
    assert seen.endswith("; copies of 1 are off site, the oldest 9 hours old")
    assert warning == "never copied off site: site; `sudo systemctl start aicluster-offsite` does it"


@pytest.mark.parametrize(("known", "evidence"), [
    pytest.param({"error": "no room", "newest": time.time()}, "copy of PI52 off site: no room",
        id="it failed"),
    pytest.param({"error": "", "newest": time.time() - 51 * HOUR},
        "more than two nights behind off site: PI52", id="two nights without"),
])  # fmt: skip
def test_a_store_that_copies_nothing_off_site_has_failed(verified, known, evidence):
    failure = failure_of(check.check, off_site(verified, PI52=known))
    assert failure.evidence == evidence and failure.next_command
