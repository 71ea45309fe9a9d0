"""PostgREST is ready, answers from the right database, and shows nothing but its schema."""

from aicluster_verify import CheckError, Kit

FLOWS = {"data": "the database answers over HTTP and shows only its schema"}
OK, NOT_FOUND = 200, 404
PROVISION = "sudo docker compose --project-directory /opt/aicluster exec -T postgres /opt/aicluster/provision"


def database_of(kit: Kit) -> str:
    """Return the name of the database its configuration names."""
    for line in kit.secret("postgrest", "postgrest.conf").splitlines():
        if line.startswith("db-uri"):
            return line.rstrip().rstrip('"').rpartition("/")[2].partition("?")[0]
    raise CheckError("postgrest.conf names no database")


def check(kit: Kit) -> str:
    """Return what the database says of itself; raise CheckError with the next command. Only reads."""
    ready = kit.http(kit.url("postgrest", "admin", "/ready"))
    if ready.status != OK:
        raise CheckError("/ready answered {}".format(ready.status))
    answer = kit.http(kit.url("postgrest", "api", "/health"))
    if answer.status != OK:
        raise CheckError(
            "api.health answered {}: {}".format(answer.status, answer.text.strip()[:200]), PROVISION
        )
    rows = answer.json()
    wanted = database_of(kit)
    if not isinstance(rows, list) or [row.get("database") for row in rows] != [wanted]:
        raise CheckError("api.health is not of database {}: {}".format(wanted, answer.text.strip()[:200]))
    hidden = kit.http(kit.url("postgrest", "api", "/pg_roles"))
    if hidden.status != NOT_FOUND:
        raise CheckError("a relation outside the schema answered {} instead of 404".format(hidden.status))
    return "database {} (PostgreSQL {}) answers; relations outside the schema are hidden".format(
        wanted, rows[0].get("version")
    )
