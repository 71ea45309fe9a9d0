"""A row is written, read and rolled back, over the network and with a password, as an application would."""

from aicluster_verify import CheckError, Kit

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


def check(kit: Kit) -> str:
    """Nobody else ever sees the table, and it goes with the transaction, whatever happens."""
    port = kit.services["postgres"]["ports"]["sql"]["container"]
    identity = "%s %s" % (kit.run_id, kit.node)
    answer = kit.execute("postgres", ["sh", "-c", CLIENT, "sh", str(port), identity], stdin=SQL)
    read, _, databases = answer.partition("\n")
    if read != identity or not databases.strip().isdigit():
        raise CheckError("wrote %r and read %r" % (identity, answer[:200]))
    return "row written, read and rolled back; %s databases" % databases.strip()
