"""Redis answers nobody without a password."""


def test_it_asks_for_a_password(inside):
    refused = inside("redis", "redis-cli", "ping")
    assert "NOAUTH" in refused.stdout + refused.stderr
