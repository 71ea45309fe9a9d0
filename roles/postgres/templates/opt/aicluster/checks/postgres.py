"""A row is written, read and rolled back, over the network and with a password, as an application would.

A standby follows its primary, without pause and without delay. Other nodes speak TLS with either.
"""

import functools
import json
from typing import Any, Dict

from aicluster_backup_kept import require_kept
from aicluster_verify import CheckError, Kit, Seen

FLOWS = {"data": "a row is written, read and rolled back over the network, with a password"}
# By the name other containers use, so that listening, the password and pg_hba.conf are asked for, too.
CLIENT = """\
PGPASSWORD="$(cat /run/secrets/postgres/password)" exec psql --no-psqlrc --quiet --tuples-only --no-align \
--set ON_ERROR_STOP=1 --no-password --username postgres --host postgres --port "$1" --set id="$2"
"""
# An ordinary table: its row is written to the log as any other, which that of a temporary one would not be.
SQL = """
SET statement_timeout = '20s';
BEGIN;
CREATE TABLE aicluster_verify (id text PRIMARY KEY);
INSERT INTO aicluster_verify VALUES (:'id');
SELECT id FROM aicluster_verify WHERE id = :'id';
ROLLBACK;
SELECT count(*) FROM pg_database WHERE datallowconn AND NOT datistemplate;
"""
LAG_LIMIT_S = 300
PSQL = ["psql", "--no-psqlrc", "-qtA", "--set=ON_ERROR_STOP=1", "--dbname"]
# The first is for administration.
NAMES = "SELECT datname FROM pg_database WHERE datname <> 'postgres' AND datallowconn AND NOT datistemplate"
# Tables that have rows as soon as the database is used.
OWN = (
    "public.schema_migrations", "history.settings", "history.users", "history.usage", "history.requests",
    "history.ingest_errors",
)  # fmt: skip
# Reads one row at most.
EMPTY = r"""
SET statement_timeout = '20s';
SELECT format('SELECT NOT (%%s)', coalesce(
  string_agg(format('EXISTS (SELECT FROM %%I.%%I)', schemaname, tablename), ' OR '), 'false'))
FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname !~ '^pg_temp_'
  AND schemaname || '.' || tablename NOT IN ('%s') \gexec
""" % "', '".join(OWN)


def state(kit: Kit) -> Dict[str, Any]:
    """Return what the server says of itself."""
    return dict(json.loads(kit.execute("postgres", ["/opt/aicluster/server", "state"])))


def check(kit: Kit) -> Seen:
    """Of two servers each does its own part."""
    pair = kit.services["postgres"].get("replication")
    if pair and pair["role"] == "standby":
        said = state(kit)
        seen = follows(said, pair["node"])
        if said.get("doing"):
            return seen
    else:
        seen = writes(kit)
        require_rows(kit)
        if pair and state(kit)["standbys"]:
            seen += "; %s receives it" % pair["node"]
        elif pair:
            seen = (seen, "its standby on %s does not receive what is written" % pair["node"])
    return kit.certificate("postgres", "sql", seen, "postgres")


def follows(said: Dict[str, Any], primary: str) -> Seen:
    """Return what a standby is doing; raise CheckError unless it has what its primary has."""
    doing = said.get("doing", "")
    if doing.startswith("copies"):
        return "is being made", doing
    if doing:
        raise CheckError(doing)
    if not said["recovery"]:
        raise CheckError("takes writes, though the site names %s as the primary" % primary)
    if not said["streaming"]:
        raise CheckError("does not receive what is written on %s" % primary, "", ["postgres on " + primary])
    if said["lag_s"] > LAG_LIMIT_S:
        raise CheckError("is %d s behind %s" % (said["lag_s"], primary))
    return "standby of %s, %d s behind" % (primary, said["lag_s"])


def writes(kit: Kit) -> str:
    """Nobody else ever sees the table, and it goes with the transaction, whatever happens."""
    port = kit.services["postgres"]["ports"]["sql"]["container"]
    identity = "%s %s" % (kit.run_id, kit.node)
    answer = kit.execute("postgres", ["sh", "-c", CLIENT, "sh", str(port), identity], stdin=SQL)
    read, _, databases = answer.partition("\n")
    if read != identity or not databases.strip().isdigit():
        raise CheckError("wrote %r and read %r" % (identity, answer[:200]))
    return "row written, read and rolled back; %s databases" % databases.strip()


def rows_in(manifest: str, name: str) -> int:
    """Return how many rows a dump has that somebody wrote."""
    tables = json.loads(manifest)["databases"].get(name, {"tables": {}})["tables"]
    return sum(said["rows"] for table, said in tables.items() if table not in OWN)


def require_rows(kit: Kit) -> None:
    """Raise CheckError for a database without a row, unless its newest backup has none."""
    dumped = ["dump", "/staging/postgres/manifest.json"]
    for name in kit.execute("postgres", [*PSQL, "postgres", "--command", NAMES]).splitlines():
        if kit.execute("postgres", [*PSQL, name], stdin=EMPTY).strip() == "t":
            count = functools.partial(rows_in, name=name)
            require_kept("postgres", "database " + name, "database=" + name, dumped, count)
