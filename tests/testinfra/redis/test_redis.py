"""Redis answers nobody without a password, and its data cannot outgrow its memory."""

import pytest
import site_under_test as site

ASK = 'REDISCLI_AUTH="$(cat /run/secrets/redis/password)" redis-cli config get "$1"'


@pytest.fixture
def setting(inside):
    return lambda name: inside("redis", "sh", "-c", ASK, "sh", name).stdout.partition("\n")[2].strip()


def test_it_asks_for_a_password(inside):
    refused = inside("redis", "redis-cli", "ping")
    assert "NOAUTH" in refused.stdout + refused.stderr


def test_it_stores_less_than_the_memory_it_may_use(setting, node):
    assert 0 < int(setting("maxmemory")) < node.services["redis"]["memory_mb"] << 20


def test_it_keeps_one_copy_of_its_data_on_disk_or_none(setting, node):
    kept = site.setting(node, "redis", "redis_appendonly")
    assert (setting("appendonly"), setting("save")) == ("yes" if kept else "no", "")
