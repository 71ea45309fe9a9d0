"""The container that copies can change nothing it reads, and no two nodes share a secret."""

import re

import pytest
from render import cluster, compose_of, hosts_running, render_role


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_only_the_cache_and_a_store_can_be_written(inventory):
    for host in hosts_running("backup", inventory):
        lines = compose_of("backup", inventory=inventory, host=host)["services"]["backup"]["volumes"]
        writable = {str(line).split(":")[1] for line in lines if not str(line).endswith(":ro")}
        [node] = [node for node in cluster(inventory) if node["host"] == host]
        assert writable == ({"/cache", "/store"} if "backup_store" in node["services"] else {"/cache"})


def test_no_two_secrets_of_the_site_are_the_same():
    found = [
        word
        for host in hosts_running("backup")
        for path, text in render_role("backup", host=host).items()
        if "/secrets/" in path
        for word in re.findall(r"[0-9a-f]{64}", text)
    ]
    assert len(found) == len(set(found)) >= 3 * len(hosts_running("backup"))
