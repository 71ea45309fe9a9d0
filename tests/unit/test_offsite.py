"""What the first of all stores copies off site, and what it does when that fails."""

from pathlib import Path

import aicluster_offsite as offsite
import aicluster_textfile
import pytest
import render
from backups import INSPECT, Folder, given_to_store, snapshot

DOCKER = {
    "inspect": INSPECT,
    "snapshots": 'cat "$here/$(basename "$RESTIC_REPOSITORY")"',
    "check": 'echo "$AWS_ACCESS_KEY_ID" > "$here/environment"',
}
OF_PI52 = "s3:https://host/bucket/PI52"
NO_ROOM = f'if [ "$RESTIC_REPOSITORY" = {OF_PI52} ]; then echo "Fatal: no room" >&2; exit 1; fi'
PLAN = {
    "repository": "s3:https://host/bucket/",
    "environment": {"AWS_ACCESS_KEY_ID": "an-id"},
    "kib_s": 500,
    "sources": {"PI52": ["its-password", "/store/PI52"], "site": ["another", "/store/site"]},
}
KEEP = ["--keep-daily=7", "--keep-weekly=4", "--keep-monthly=6"]


class Night(Folder):
    """The first of all stores, with copies of PI52 and of the site."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        self.docker(**DOCKER)
        self.write_json("plan", PLAN)
        self.snapshots("site", site=1)
        places = {"PLAN": "plan", "STATE": "state"}
        self.use(monkeypatch, {offsite: places, aicluster_textfile: {"FOLDER": "metrics"}})

    def snapshots(self, name: str, **hours: int) -> None:
        """What a source has: a snapshot of each tag, some hours old, and one of the day before it."""
        made = [
            snapshot(f"{tag}{age}", age, tags=[tag])
            for tag, newest in hours.items()
            for age in (newest + 24, newest)
        ]
        self.write_json(name, made)

    def passes(self, **hours: int) -> int:
        """Run the program once; return its exit status."""
        self.snapshots("PI52", **(hours or {"postgres": 3, "minio": 4}))
        self.write("asked", "")
        return offsite.main(KEEP)

    def commands(self) -> list[str]:
        """Words of restic about what is off site of PI52."""
        return [line.partition(" --retry-lock 2h ")[2] for line in self.asked(repository=OF_PI52)]

    def error(self) -> str:
        return str(self.read_json("state")["PI52"]["error"])


@pytest.fixture
def night(tmp_path, monkeypatch):
    return Night(tmp_path, monkeypatch)


COPIED = [
    "cat config",
    "unlock",
    "copy --limit-upload=500 minio4 postgres3",
    "check --with-cache",
    "forget --group-by host,tags --keep-daily=7 --keep-weekly=4 --keep-monthly=6 --prune --limit-upload=500",
]


def test_the_newest_of_each_job_is_copied_then_what_is_there_is_checked_and_pruned(night):
    assert night.passes() == 0
    assert night.commands() == COPIED
    assert night.error() == ""
    [run] = [line for line in night.asked("run", OF_PI52) if " copy " in line]
    assert "--network=host" in run and " --env RESTIC_PASSWORD " in run and "/own" not in run
    assert night.read("environment") == "an-id\n"
    assert not [line for line in night.asked() if "its-password" in line or "an-id" in line], "no argument"


def test_the_repository_is_made_first_if_there_is_none(night):
    night.docker(config="exit 10")
    assert night.passes() == 0
    assert night.commands() == [COPIED[0], "init --copy-chunker-params", *COPIED[1:]]


def test_of_a_node_that_no_longer_sends_nothing_is_removed(night):
    assert night.passes(postgres=30) == 0
    assert [command.split()[0] for command in night.commands()] == ["cat", "unlock", "copy", "check"]


def test_a_snapshot_of_a_time_to_come_is_copied_nowhere(night):
    assert night.passes(postgres=-3) == 1
    assert night.commands() == []
    assert "of a time to come" in night.error()


def test_a_failure_stops_its_own_copy_and_leaves_the_time_of_the_last_one(night):
    newest = 'backup_offsite_newest_snapshot_timestamp_seconds{repository="PI52"}'
    failed = 'backup_offsite_last_exit_code{repository="%s"}'
    night.passes()
    before = night.metrics("offsite")
    night.docker(unlock=NO_ROOM)
    assert night.passes() == 1
    after = night.metrics("offsite")
    assert after[newest] == before[newest]
    assert (after[failed % "PI52"], after[failed % "site"]) == (1.0, 0.0)
    assert night.commands() == ["cat config", "unlock"]
    assert "no room" in night.error()


def given(monkeypatch: pytest.MonkeyPatch, name: str, address: str) -> dict[str, str]:
    """What the store on a node has where a site names an address off site."""
    chosen = render.choose(monkeypatch, site_offsite=address)
    secrets = render.made_up_secrets() | {"offsite_environment": {"B2_ACCOUNT_ID": "x"}}
    return given_to_store(name, **chosen, site_secrets=secrets)


@pytest.mark.parametrize(("name", "address"), [
    pytest.param("AGX0", "", id="a site without an off-site repository"),
    pytest.param("PI52", "b2:bucket:", id="a store that is not the first"),
])  # fmt: skip
def test_nothing_is_copied_off_site_by(monkeypatch, name, address):
    files = given(monkeypatch, name, address)
    assert not {"offsite", "aicluster-offsite.service"} & files.keys()
    assert "offsite" not in files["aicluster-backup-store.service"]
