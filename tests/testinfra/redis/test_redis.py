"""Redis answers nobody without a password, and its data cannot outgrow its memory."""

import site_under_test as site

MEBIBYTE = 1 << 20


def container(host):
    return host.check_output("docker ps --quiet --filter label=aicluster.service=redis").split()[0]


def setting(host, name):
    script = 'REDISCLI_AUTH="$(cat /run/secrets/redis/password)" redis-cli config get "$1"'
    answer = host.check_output("docker exec %s sh -c %s sh %s", container(host), script, name)
    return answer.partition("\n")[2].strip()


def test_it_asks_for_a_password(host):
    refused = host.run("docker exec %s redis-cli ping", container(host))
    assert "NOAUTH" in refused.stdout + refused.stderr


def test_it_stores_less_than_the_memory_it_may_use(host, node):
    limit = node.services["redis"]["memory_mb"] * MEBIBYTE
    assert 0 < int(setting(host, "maxmemory")) < limit


def test_it_keeps_one_copy_of_its_data_on_disk_or_none(host, node):
    kept = site.setting(node, "redis", "redis_appendonly")
    assert (setting(host, "appendonly"), setting(host, "save")) == ("yes" if kept else "no", "")
