"""Redis answers nobody without a password, and its data cannot outgrow its memory."""


def container(host):
    return host.check_output("docker ps --quiet --filter label=aicluster.service=redis").split()[0]


def test_it_asks_for_a_password(host):
    refused = host.run("docker exec %s redis-cli ping", container(host))
    assert "NOAUTH" in refused.stdout + refused.stderr
