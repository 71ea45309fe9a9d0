"""The database asks for a password, and shows nobody what is not theirs."""

import site_under_test as site

PSQL = ("psql", "-U", "postgres", "-tAc")
CLOSED = (
    "select datname from pg_database where pg_get_userbyid(datdba) = datname "
    "and not has_database_privilege('monitor', datname, 'connect')"
)
MONITOR = (
    "select pg_has_role('monitor', 'pg_monitor', 'member'), rolsuper, rolcreaterole, rolcreatedb, "
    "pg_has_role('monitor', 'pg_read_all_data', 'member') from pg_roles where rolname = 'monitor'"
)


def test_it_asks_the_network_for_a_password(inside, node):
    where = ("-w", "-h", node.address, "-p", str(node.port("postgres", "sql")))
    refused = inside("postgres", *PSQL, "select 1", *where)
    assert refused.rc != 0
    assert "password" in refused.stderr


def test_every_database_a_service_asks_for_belongs_to_its_role_and_is_closed_to_others(inside):
    placed = [entry for node in site.nodes() for entry in node.services.values()]
    asked = {name for entry in placed for name in entry.get("databases") or []}
    assert asked <= set(inside("postgres", *PSQL, CLOSED).stdout.split())


def test_the_exporters_role_reads_statistics_and_no_data(inside):
    assert inside("postgres", *PSQL, MONITOR).stdout.strip() == "t|f|f|f|f"
