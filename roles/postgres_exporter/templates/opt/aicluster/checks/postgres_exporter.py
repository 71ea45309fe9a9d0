"""The exporter has asked the database, and the database has answered."""

from aicluster_verify import CheckError, Kit


def check(kit: Kit) -> str:
    """`pg_up` says that it could sign in, the databases' sizes that it may look."""
    url = kit.url("postgres_exporter", "metrics", "/metrics")
    lines = kit.expect(url).text.splitlines()
    if "pg_up 1" not in lines:
        # After a restart of the database the first question only ends the old connection.
        lines = kit.expect(url).text.splitlines()
    if "pg_up 1" not in lines:
        seen = [line for line in lines if line.startswith("pg_up")]
        raise CheckError("the database does not answer it: %s" % (seen[0] if seen else "no pg_up"))
    sizes = [line for line in lines if line.startswith("pg_database_size_bytes{")]
    if not sizes:
        raise CheckError("it sees the size of no database: role monitor lacks pg_monitor")
    return "the database answers; sizes of %d databases" % len(sizes)
