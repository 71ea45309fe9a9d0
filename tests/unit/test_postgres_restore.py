"""What the program that brings databases back asks of the server, and what it refuses before."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from backups import Folder
from tables import cases
from tree import ROOT

PROGRAM = ROOT / "roles/postgres/templates/opt/aicluster/postgres/bin/restore"
TABLE = {"rows": 2, "checksum": "7"}
# Stands for Docker and the server in the container; what is asked of it is kept.
DOCKER = r"""#!/bin/sh
here=$(dirname "$(dirname "$0")")
if [ "$1" = volume ]; then echo "$here"; exit; fi
shift 6
case "$*" in
  *"SHOW server_version"*) echo 17.12 ;;
  *--list*) printf '1; 1262 5 DATABASE - web web\n2; 0 0 ACL - DATABASE web web\n3; 1259 9 TABLE s t web\n' ;;
  *--create*) printf '%s\n' "$*" >> "$here/asked"; cat "$here/statements" ;;
  pg_restore*) cat > /dev/null; echo "$*" >> "$here/asked"; test ! -e "$here/broken" ;;
  *psql*)
    sql=$(cat)
    case "$sql" in
      *"FROM pg_tables"*) cat "$here/tables" ;;
      *"WHERE datallowconn"*) cat "$here/open" ;;
      *quote_ident*) printf 'postgres\nweb\n' ;;
      *"FROM pg_database ORDER"*) printf 'postgres\nweb\nweb_before_20261101_020000\n' ;;
      *) printf '%s\n' "$sql" >> "$here/asked" ;;
    esac ;;
  *) echo "$*" >> "$here/asked" ;;
esac
"""
STATEMENTS = r"""\connect x
CREATE DATABASE web WITH TEMPLATE = template0;
ALTER DATABASE web OWNER TO web;
ALTER ROLE web IN DATABASE web SET x TO '1';
REVOKE CONNECT,TEMPORARY ON DATABASE web FROM PUBLIC;
COMMENT ON DATABASE web IS 'DATABASE web of many';
"""
GLOBALS = """CREATE ROLE web;
ALTER ROLE web WITH LOGIN PASSWORD 'old';
CREATE ROLE byhand;
ALTER ROLE byhand WITH LOGIN PASSWORD 'kept';
GRANT byhand TO web;
"""


class Server(Folder):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.program("bin/docker", DOCKER)
        texts = {"globals.sql": GLOBALS, "statements": STATEMENTS, "tables": "s.t|2|7\n\n"}
        for name, text in {"web.dump": "", "asked": "", "open": "web\n", **texts}.items():
            self.write(name, text)
        self.manifest()

    def manifest(self, server: str = "17.10", **changes: Any) -> None:
        empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        web = {"bytes": 1, "size": 1, "sha256": empty, "tables": {"s.t": TABLE}, **changes}
        self.write("manifest.json", json.dumps({"server": server, "databases": {"web": web}}))

    def restore(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(PROGRAM), *arguments)


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_the_present_database_is_kept_under_another_name(server):
    said = server.restore(str(server.folder)).stdout
    asked = server.read("asked")
    swap = asked.rpartition("BEGIN;")[2].partition("COMMIT;")[0]
    assert 'ALTER DATABASE "web" RENAME TO "web_before_' in swap
    assert 'ALTER DATABASE "web_restoring" RENAME TO "web"' in swap
    assert asked.index('"web" ALLOW_CONNECTIONS false') < asked.index("pg_terminate") < asked.index(swap)
    assert "--drop-before` drops them" in said


def test_roles_that_exist_keep_their_password_and_missing_ones_are_made(server):
    server.restore(str(server.folder))
    assert server.read("asked").rstrip().endswith("/opt/aicluster/provision")
    assert "PASSWORD 'old'" not in server.read("asked") and "CREATE ROLE web;" not in server.read("asked")
    assert "CREATE ROLE byhand;\nALTER ROLE byhand WITH LOGIN PASSWORD 'kept';" in server.read("asked")


@cases("spoil", {
    "a dump that does not restore": lambda server: (server.folder / "broken").touch(),
    "other rows": lambda server: server.write("tables", "s.t|2|8\n\n"),
    "a table that is missing": lambda server: server.write("tables", "\n"),
})  # fmt: skip
def test_what_is_not_what_was_dumped_never_takes_the_name(server, spoil):
    spoil(server)
    assert server.restore(str(server.folder)).returncode == 1
    assert "RENAME" not in server.read("asked") and "pg_terminate_backend" not in server.read("asked")
    assert server.read("asked").rstrip().endswith('DROP DATABASE IF EXISTS "web_restoring" WITH (FORCE);')


@cases(("spoil", "arguments", "message"), {
    "a newer major version": (lambda server: server.manifest("18.0"), [],
        "postgres: the dump is of PostgreSQL 18.0, the server is 17.12: must not be of an older"),
    "an unknown database": (
        lambda _: None, ["--database", "webb"], "postgres: the dump has no database webb: write web"),
    "a dump that is missing": (
        lambda server: (server.folder / "web.dump").unlink(), [], "web.dump is missing"),
    "a dump that is damaged": (lambda server: server.write("web.dump", "x"), [], "its SHA-256 differs"),
    "a disk without room": (
        lambda server: server.manifest(size=1 << 60), [], "MB needed beside the present databases"),
    "a folder without a dump": (
        lambda server: (server.folder / "manifest.json").unlink(), [], "has no dump: "),
})  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_asked(server, spoil, arguments, message):
    spoil(server)
    done = server.restore(str(server.folder), *arguments)
    assert done.returncode == 1 and message in done.stderr
    assert server.read("asked") == ""


@pytest.mark.parametrize(("tables", "said"), [
    ("s.t|2|7\n\n", "database web: 1 tables, 2 rows in the dump; the same now\n"),
    ("s.t|5|9\n\n", "database web: 1 tables, 2 rows in the dump; now s.t has 5 rows instead of 2\n"),
    ("s.t|2|9\n\n", "database web: 1 tables, 2 rows in the dump; now s.t has other rows\n"),
    ("s.u|1|1\n\n", "now s.t is missing, has 2 rows in the dump; s.u (1 rows) is not in the dump\n"),
])  # fmt: skip
def test_a_check_says_what_would_change_and_changes_nothing(server, tables, said):
    server.write("tables", tables)
    (server.folder / "web.dump").unlink()
    done = server.restore("--check", str(server.folder))
    assert done.returncode == 0 and done.stdout.endswith(said)
    assert server.read("asked") == ""


def test_a_database_that_an_interrupted_restore_left_closed_is_made_anew(server):
    server.write("open", "")
    assert "nothing can be read there now" in server.restore("--check", str(server.folder)).stdout


def test_what_a_restore_kept_is_dropped_by_a_command_and_nothing_else_is(server):
    assert server.restore("--drop-before").stdout == "dropped web_before_20261101_020000\n"
    assert server.read("asked") == 'DROP DATABASE "web_before_20261101_020000";\n'
