"""A service that does not come up stops its node with a message one can act on, and no other node."""

import re

import pytest
import site_under_test as site


@pytest.fixture
def redis_of_another_user(tmp_path):
    """An inventory layer: Redis runs as a user who may not read its data, and Kong has another limit."""
    backend = site.running("postgres")[0]
    (tmp_path / "hosts.yml").write_text(f"backend: {{hosts: {{{backend.address}: }}}}\n")
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "host_vars").mkdir()
    gateway = tmp_path / "host_vars" / f"{site.running('kong')[0].address}.yml"
    gateway.write_text("kong_rate_limit_per_minute: 2999\n")
    services = site.variable(backend, "node_services")
    [redis] = [item["redis"] for item in services if isinstance(item, dict) and "redis" in item]
    others = [item for item in services if not (isinstance(item, dict) and "redis" in item)]
    placement = f"node_services: {[*others, {'redis': redis | {'uid': 4242}}]}\nstack_wait_timeout_s: 20\n"
    (tmp_path / "group_vars" / "backend.yml").write_text(placement)
    yield ("-i", str(tmp_path))
    repaired = site.run_site()
    assert repaired.code == 0, repaired.output


def test_the_message_names_service_log_and_next_command_and_the_other_nodes_converge(
    redis_of_another_user,
):
    backend = site.running("postgres")[0]
    run = site.run_site(*redis_of_another_user)
    assert run.code != 0
    assert re.search(rf"{backend.name}: .*\bredis\b.* did not come up\.", run.output)
    assert "Permission denied" in run.output
    assert re.search(rf"Next: ssh .*@{re.escape(backend.address)} sudo docker compose .* ps -a", run.output)
    failed = dict(re.findall(r"^(\S+) +: .*failed=(\d+)", run.output, re.M))
    assert failed == {node.address: "1" if node == backend else "0" for node in site.nodes()}
    gateway = site.running("kong")[0]
    later_tier = site.run_site(*redis_of_another_user, "--check", "--limit", gateway.address)
    assert later_tier.changed == {gateway.address: 0}, later_tier.output
