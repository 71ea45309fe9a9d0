"""The database asks for a password, and shows nobody what is not theirs."""

import site_under_test as site


def container(host):
    return host.check_output("docker ps --quiet --filter label=aicluster.service=postgres").split()[0]


def test_it_asks_the_network_for_a_password(host, node):
    port = str(node.port("postgres", "sql"))
    ask = "docker exec %s psql -w -h %s -p %s -U postgres -c 'select 1'"
    refused = host.run(ask, container(host), node.address, port)
    assert refused.rc != 0
    assert "password" in refused.stderr


def test_every_database_a_service_asks_for_belongs_to_its_role_and_is_closed_to_others(host):
    sql = (
        "select datname from pg_database where pg_get_userbyid(datdba) = datname "
        "and not has_database_privilege('monitor', datname, 'connect')"
    )
    found = host.check_output("docker exec -u postgres %s psql -tAc %s", container(host), sql).split()
    asked = {
        name
        for node in site.nodes()
        for entry in node.services.values()
        for name in entry.get("databases") or []
    }
    assert asked <= set(found)


def test_the_exporters_role_reads_statistics_and_no_data(host):
    sql = (
        "select pg_has_role('monitor', 'pg_monitor', 'member'), rolsuper, rolcreaterole, rolcreatedb, "
        "pg_has_role('monitor', 'pg_read_all_data', 'member') from pg_roles where rolname = 'monitor'"
    )
    answer = host.check_output("docker exec -u postgres %s psql -tAc %s", container(host), sql)
    assert answer == "t|f|f|f|f"
