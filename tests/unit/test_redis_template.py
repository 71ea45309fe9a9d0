"""What Redis and its exporter are told; tests/testinfra/redis asks a running one for the rest."""

import pytest
import render


@pytest.mark.parametrize("host", render.hosts_running("redis"))
def test_a_full_redis_forgets_instead_of_refusing(host):
    text = render.render_role("redis", host=host)["/opt/aicluster/redis/secrets/redis.conf"]
    assert "maxmemory-policy allkeys-lru" in text.splitlines()


def test_nobody_can_send_its_exporter_to_another_address():
    exporter = render.compose_of("redis_exporter")["services"]["redis_exporter"]
    assert exporter["environment"]["REDIS_EXPORTER_DISABLE_SCRAPE_ENDPOINT"] == "true"
