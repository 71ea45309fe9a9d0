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
