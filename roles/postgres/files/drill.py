"""Tells whether a restored copy of PostgreSQL is good: a new server, without network, is made from it.

Every database is restored, which checks its foreign keys; rows and checksums of all tables are those of
the manifest, for which every record is read. The server is in a container of the cluster's own image; its
files are in the folder of the copy, and both are gone afterwards.
"""

import json
import os
import re
import time
from typing import Any, Dict, List

from aicluster_backup_tools import FailedError, differences, require_room
from aicluster_backup_tools import ask as run
from aicluster_drill_kit import LABEL, Answer, main, staged

NAME = "aicluster_drill_postgres"
MEMORY = "768m"
START_S = 300
NAMED_AT_MOST = 5
# They shrink by themselves.
PASSING = ("history.requests", "history.ingest_errors")
DATA = "/var/lib/postgresql/data"
PSQL = ["psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1"]
# The server has this role from the start.
SUPERUSER = b"CREATE ROLE postgres;"
NEWEST = r"""
SELECT format('SELECT extract(epoch FROM max(created_at))::bigint FROM %I.%I', table_schema, table_name)
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE column_name = 'created_at' AND data_type ~ '^(timestamp|date)' AND table_type = 'BASE TABLE' \gexec
"""


def inside(command: List[str], **keys: Any) -> str:
    """Return what a command in the container prints; raise FailedError when it fails."""
    answer = run(["docker", "exec", "--interactive", NAME, *command], **keys)
    if answer.code:
        said = answer.error.strip().splitlines()
        errors = [line for line in said if re.search("error|fatal", line, re.IGNORECASE)]
        raise FailedError("%s: %s" % (command[0], (errors or said or [answer.last_line])[0]))
    return answer.out


def ask(database: str, sql: str) -> List[List[str]]:
    """Return the rows that statements yield in a database, the last columns of each first split off."""
    out = inside([*PSQL, "--dbname", database], input=sql.encode())
    return [line.rsplit("|", 2) for line in out.split("\n") if line]


def start(folder: str) -> None:
    """Start the server, and wait until it answers."""
    uid = int(os.environ["DRILL_UID"])
    data = os.path.join(folder, "pgdata")
    os.mkdir(data, 0o700)
    os.chown(data, uid, uid)
    user = "%d:%d" % (uid, uid)
    argv = [
        "docker", "run", "--detach", "--name", NAME, "--label", LABEL,
        "--network", "none", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
        "--pids-limit", "256", "--memory", MEMORY, "--memory-swap", MEMORY, "--shm-size", "128m",
        "--user", user, "--tmpfs", "/tmp:rw,noexec,nosuid,size=64m",
        "--tmpfs", "/var/run/postgresql:rw,noexec,nosuid,size=1m,uid=%d,gid=%d,mode=0775" % (uid, uid),
        "--volume", "%s:%s" % (data, DATA), "--env", "PGDATA=" + DATA,
        # Nobody logs in with a password; the image does not start without one.
        "--env", "POSTGRES_PASSWORD_FILE=/proc/sys/kernel/random/uuid",
        "--env", "POSTGRES_INITDB_ARGS=--no-sync --encoding=UTF8",
        # What is written here is gone in a few minutes.
        os.environ["DRILL_IMAGE"], "postgres",
        "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "autovacuum=off",
    ]  # fmt: skip
    made = run(argv)
    if made.code:
        raise FailedError("no server: %s" % made.error.strip())
    end = time.monotonic() + START_S
    # Over the network's way in: while a new database is made, the official image listens on its socket only.
    ready = ["docker", "exec", NAME, "pg_isready", "--quiet", "--host", "127.0.0.1"]
    while run(ready).code:
        if time.monotonic() > end:
            raise FailedError("the server does not answer after %d s" % START_S)
        if not run(["docker", "ps", "--quiet", "--filter", "name=" + NAME]).out.strip():
            logs = run(["docker", "logs", "--tail", "3", NAME])
            raise FailedError("the server ended: %s" % " ".join((logs.out + logs.error).split()))
        time.sleep(0.2)


def restore(top: str, databases: Dict[str, Any]) -> None:
    """Restore roles and databases; raise FailedError at the first statement that fails."""
    with open(os.path.join(top, "globals.sql"), "rb") as file:
        roles = b"\n".join(line for line in file.read().split(b"\n") if line != SUPERUSER)
    inside([*PSQL, "--dbname", "template1"], input=roles)
    command = ["pg_restore", "--exit-on-error", "--clean", "--if-exists", "--create", "--dbname", "template1"]
    for name in databases:
        try:
            with open(os.path.join(top, name + ".dump"), "rb") as dump:
                inside(command, stdin=dump)
        except FailedError as error:
            raise FailedError("database %s: %s" % (name, error)) from None


def compare(name: str, tables: Dict[str, Any], query: str) -> None:
    """Raise FailedError if a restored database is not what was dumped."""
    found = {table: {"rows": int(rows), "checksum": sum_} for table, rows, sum_ in ask(name, query)}
    wrong = differences(tables, found)
    if wrong:
        raise FailedError("database %s: %s" % (name, "; ".join(wrong[:NAMED_AT_MOST])))


def prove(folder: str) -> Answer:
    """Restore everything into the running server, and compare it."""
    top = staged(folder)
    with open(os.path.join(top, "manifest.json")) as file:
        manifest = json.load(file)
    databases = manifest["databases"]
    if not databases:
        raise FailedError("the manifest names no database")
    require_room(folder, 3 * sum(one["bytes"] for one in databases.values()), " to restore it")
    start(folder)
    restore(top, databases)
    times = []
    for name, one in databases.items():
        compare(name, one["tables"], manifest["query"])
        times += [int(words[0]) for words in ask(name, NEWEST)]
    rows = {
        "%s.%s" % (name, table): said["rows"]
        for name, one in databases.items()
        for table, said in one["tables"].items()
        if table not in PASSING
    }
    evidence = "%d databases, %d tables and %d rows are as dumped"
    found = {"evidence": evidence % (len(databases), len(rows), sum(rows.values())), "rows": rows}  # type: Answer
    if times:
        found["newest"] = max(times)
    return found


def drill(folder: str) -> Answer:
    """Prove the copy, and remove the server whatever came of it."""
    try:
        return prove(folder)
    finally:
        run(["docker", "rm", "--force", "--volumes", NAME])


if __name__ == "__main__":
    main(drill)
