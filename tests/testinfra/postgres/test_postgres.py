"""The database answers those who may ask, and nobody without a password."""


def container(host):
    return host.check_output("docker ps --quiet --filter label=aicluster.service=postgres").split()[0]


def test_it_answers(host):
    answer = host.check_output("docker exec -u postgres %s psql -tAc 'select 1'", container(host))
    assert answer == "1"


def test_it_asks_the_network_for_a_password(host, node):
    port = str(node.port("postgres", "sql"))
    ask = "docker exec %s psql -w -h %s -p %s -U postgres -c 'select 1'"
    refused = host.run(ask, container(host), node.address, port)
    assert refused.rc != 0
    assert "password" in refused.stderr


def test_provisioning_finds_nothing_to_change(host):
    said = host.run(
        "docker compose --project-directory /opt/aicluster exec -T postgres /opt/aicluster/provision"
    )
    assert (said.rc, said.stdout) == (0, "")


def test_every_database_of_a_service_belongs_to_its_role_and_is_closed_to_others(host):
    sql = (
        "select datname from pg_database where not datistemplate and datname <> 'postgres' "
        "and (pg_get_userbyid(datdba) not in (datname, 'postgres') "
        "or pg_get_userbyid(datdba) = datname and has_database_privilege('monitor', datname, 'connect'))"
    )
    assert host.check_output("docker exec -u postgres %s psql -tAc %s", container(host), sql) == ""


def test_the_exporters_role_reads_statistics_and_no_data(host):
    sql = (
        "select pg_has_role('monitor', 'pg_monitor', 'member'), rolsuper, rolcreaterole, rolcreatedb, "
        "pg_has_role('monitor', 'pg_read_all_data', 'member') from pg_roles where rolname = 'monitor'"
    )
    answer = host.check_output("docker exec -u postgres %s psql -tAc %s", container(host), sql)
    assert answer == "t|f|f|f|f"
