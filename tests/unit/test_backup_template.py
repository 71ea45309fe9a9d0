"""The container that copies sees what its jobs name, and can change none of it; a node has its own keys."""

import json
import re
from typing import Any

import pytest
from render import cluster, compose_of, hosts_running, render_role

NODES = [
    (inventory, host) for inventory in ("production", "lab") for host in hosts_running("backup", inventory)
]
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def mounts(inventory: str, host: str) -> dict[str, tuple[str, bool]]:
    """Path in the container -> what is there, and whether it is read-only."""
    composed = compose_of("backup", inventory=inventory, host=host)
    volumes = [str(line).split(":") for line in composed["services"]["backup"]["volumes"]]
    assert {source for source, *_ in volumes if "/" not in source} == set(composed["volumes"])
    return {path: (source, how == ["ro"]) for source, path, *how in volumes}


def plan(inventory: str, host: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What the node is to copy, and its secret files by name."""
    files = render_role("backup", inventory, host)
    secrets = {path.rpartition("/")[2]: text for path, text in files.items() if "/secrets/" in path}
    return json.loads(files["/opt/aicluster/backup/jobs.json"]), secrets


@every_node
def test_every_path_of_a_job_is_there(inventory, host):
    there = mounts(inventory, host)
    paths = {path for job in plan(inventory, host)[0]["jobs"] for path in job["paths"]}
    assert {path for path in paths if not path.startswith("/staging/")} <= set(there)
    assert {"/host/etc", "/host/opt/aicluster"} <= paths, "the node itself is kept on every node"
    assert all(there[path][0] == path.removeprefix("/host") for path in there if path.startswith("/host/"))


@every_node
def test_only_the_cache_and_a_store_can_be_written(inventory, host):
    writable = {path for path, (_, read_only) in mounts(inventory, host).items() if not read_only}
    [node] = [node for node in cluster(inventory) if node["host"] == host]
    assert writable == ({"/cache", "/store"} if "backup_store" in node["services"] else {"/cache"})


@every_node
def test_a_node_has_its_own_password_and_a_login_for_each_of_its_stores(inventory, host):
    wanted, secrets = plan(inventory, host)
    addresses = {node["name"]: node["address"] for node in cluster(inventory)}
    assert set(secrets) == {"password", *(f"store_{n}" for n, _ in enumerate(wanted["stores"], 1))}
    for number, store in enumerate(wanted["stores"], 1):
        line = rf"rest:http://{wanted['node']}:[0-9a-f]{{64}}@{addresses[store]}:\d+/{wanted['node']}/\n"
        assert re.fullmatch(line, secrets[f"store_{number}"])


def test_no_two_secrets_of_the_site_are_the_same():
    found = [
        word
        for host in hosts_running("backup")
        for text in plan("production", host)[1].values()
        for word in re.findall(r"[0-9a-f]{64}", text)
    ]
    assert len(found) == len(set(found)) >= 3 * len(hosts_running("backup"))
