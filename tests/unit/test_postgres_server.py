"""The entry point of PostgreSQL's container: what it does, by what is here and what the other server says.

The database's tools are made up; tests/e2e/test_promote.py has real ones.
"""

from pathlib import Path

import pytest
from backups import Folder
from tree import ROOT

SERVER = ROOT / "roles/postgres/templates/opt/aicluster/postgres/server"
TOOLS = {
    # What the other server answers is in `peer`, what this one does in `own`; without the file it is away.
    "psql": """case "$*" in
      *pg_database_size*) echo 5;;
      *pg_drop*) echo slot >> log;;
      *--dbname\\ host=*) cat peer 2> /dev/null || { echo refused >&2; exit 2; };;
      *pg_stat_wal_receiver*) cat receivers;;
      *) cat own;;
    esac""",
    "pg_controldata": "cat control",
    "pg_basebackup": 'echo copies >> log; test ! -e broken || exit 1; mkdir "$2"; echo 1 > "$2/PG_VERSION"',
    "docker-entrypoint.sh": 'echo "starts in ${PGDATA##*/}" >> log',
    "sleep": "echo waits >> log; command kill $PPID",
    "kill": "echo ends >> log",
    "sync": "true",
}
HERE = "Database system identifier: 7\nLatest checkpoint's TimeLineID: 2\n"


class Server(Folder):
    """A volume, a made-up other server, and what was done."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.volume = folder / "volume"
        self.volume.mkdir()
        for name, text in TOOLS.items():
            self.program(f"bin/{name}", f"#!/bin/sh\ncd {folder}\n{text}\n")

    def has(self, kind: str) -> None:
        """Put a database of timeline 2 into the volume: `primary` or `standby`, or nothing."""
        self.write("control", HERE)
        if kind:
            self.write("volume/PG_VERSION", "17\n")
        if kind == "standby":
            self.write("volume/standby.signal", "")

    def does(self, role: str, *words: str, **files: str) -> tuple[list[str], str]:
        """Run a command of the entry point with what the tools answer; return what was done and said."""
        for name, text in {"log": "", **files}.items():
            self.write(name, f"{text}\n")
        site = (f"REPLICATION={role}", "PEER=AGX0", "PEER_HOST=192.0.2.1", "PEER_PORT=5432")
        # `kill` is a builtin of the shell: a function of this name wins.
        line = f'kill() {{ command {self.folder}/bin/kill; }}; export -f kill; exec {SERVER} "$@"'
        places = (f"PGDATA={self.volume}", f"TMPDIR={self.folder}")
        done = self.run("env", *site, *places, "bash", "-c", line, "-", *words)
        return self.read("log").split("\n")[1:-1], done.stdout + done.stderr


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


FRESH, COPY, WAITS = ["starts in volume"], ["slot", "copies", "starts in cluster"], ["waits"]
# Role, what is in the volume, what the other server says -> what is done, and what is said.
STARTS: dict[str, tuple[str, str, str, list[str], str]] = {
    "one server begins with an empty database": ("alone", "", "", FRESH, ""),
    "so does the first of two": ("primary", "", "", FRESH, "without an answer of AGX0: refused"),
    "a primary whose standby answers starts": ("primary", "primary", "7 standby 0 none", FRESH, ""),
    "one that is newer than the other starts": ("primary", "primary", "7 primary 1 none", FRESH, ""),
    "one that was replaced does not": (
        "primary", "primary", "7 primary 3 none", [], "AGX0 is the primary, with timeline 3; run site.yml"),
    "nor one with another database": ("primary", "primary", "8 primary 1 none", [], "refuses to start"),
    "one that lost its disk does not begin anew while there is a copy": (
        "primary", "", "7 standby 0 none", [], "promote.yml -e node=AGX0"),
    "a new standby waits for its primary": ("standby", "", "", WAITS, "waits for the primary"),
    "and copies it": ("standby", "", "7 primary 2 none", COPY, "copies the database"),
    "a standby starts without its primary": ("standby", "standby", "", FRESH, ""),
    "and goes on where it was": ("standby", "standby", "7 primary 2 reserved", FRESH, ""),
    "or copies anew what is no longer kept": ("standby", "standby", "7 primary 2 lost", COPY, "copies"),
    "an old primary waits for the new one": ("standby", "primary", "", WAITS, "waits for the primary"),
    "and copies it, its own data kept": ("standby", "primary", "7 primary 3 none", COPY, "here in before_"),
    "a newer database is never replaced by an older one": (
        "standby", "primary", "7 primary 1 none", WAITS, "whose database is older"),
}  # fmt: skip


@pytest.mark.parametrize("case", STARTS)
def test_what_starts(server: Server, case: str):
    role, here, peer, did, said = STARTS[case]
    server.has(here)
    files = {"peer": peer} if peer else {}
    done, heard = server.does(role, "start", "postgres", **files)
    assert done == did, heard
    assert said in heard


def test_what_is_no_copy_of_the_primary_stays_in_the_volume_and_a_copy_goes(server: Server):
    server.has("primary")
    server.does("standby", "start", "postgres", peer="7 primary 3 none")
    [kept] = server.volume.glob("before_*")
    assert [one.name for one in kept.iterdir()] == ["PG_VERSION"]
    assert (server.volume / "cluster/standby.signal").exists()
    server.does("standby", "start", "postgres", peer="7 primary 3 lost")
    assert sorted(one.name for one in server.volume.iterdir()) == [kept.name, "cluster"]


def test_a_copy_that_was_cut_off_is_begun_anew_and_replaces_nothing(server: Server):
    server.has("standby")
    server.does("standby", "start", "postgres", peer="7 primary 2 lost", broken="")
    assert (server.volume / "PG_VERSION").exists()
    (server.folder / "broken").unlink()
    assert server.does("standby", "start", "postgres")[0] == COPY


def test_a_replaced_primary_does_not_start_when_the_new_one_is_away_either(server: Server):
    server.has("primary")
    server.does("primary", "start", "postgres", peer="7 primary 3 none")
    (server.folder / "peer").unlink()
    did, said = server.does("primary", "start", "postgres")
    assert (did, "refuses to start" in said) == ([], True)
    server.does("standby", "start", "postgres", peer="7 primary 3 none")
    assert not (server.volume / "fenced").exists()


# Role, what this server and the other one say -> what is done, and what is said.
RUNS: dict[str, tuple[str, dict[str, str], list[str], str]] = {
    "a primary alone": ("primary", {"own": "7 primary 2 none"}, [], ""),
    "a primary that was replaced while nobody reached it": (
        "primary", {"own": "7 primary 2 none", "peer": "7 primary 3 none"}, ["ends"], "AGX0 is the primary"),
    "nobody has promoted it": ("primary", {"own": "7 standby 0 none"}, [], "is a standby still"),
    "nobody wrote down that it is promoted": ("standby", {"own": "7 primary 3 none"}, [], "is a primary"),
    "its primary is away": ("standby", {"own": "7 standby 0 none", "receivers": "0"}, [], ""),
    "what it needs is no longer kept": (
        "standby", {"own": "7 standby 0 none", "receivers": "0", "peer": "7 primary 2 lost"}, ["ends"],
        "no longer there"),
}  # fmt: skip


@pytest.mark.parametrize("case", RUNS)
def test_a_server_that_runs_knows_when_it_must_not(server: Server, case: str):
    role, files, did, said = RUNS[case]
    server.has("primary")
    done, heard = server.does(role, "healthy", **files)
    assert (done, said in heard, bool(heard)) == (did, True, bool(said))
