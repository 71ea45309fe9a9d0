"""Every container that is rendered for any node keeps the baseline, or its role says why it does not."""

from typing import Any

import pytest
import tree
from hardening import RULES, deviations, exceptions
from render import cluster, compose_of

GOOD: dict[str, Any] = {
    "image": "web:1.2", "security_opt": ["no-new-privileges:true"], "cap_drop": ["ALL"], "read_only": True,
    "user": "101:101", "pids_limit": 256, "mem_limit": "64m", "memswap_limit": "64m",
    "logging": {"driver": "journald"}, "restart": "unless-stopped", "healthcheck": {"test": ["CMD", "true"]},
    "volumes": ["data:/data", "/opt/aicluster/web/conf:/conf:ro"], "ports": ["10.0.0.1:80:80"],
}  # fmt: skip


def containers(service: str) -> list[tuple[str, dict[str, Any]]]:
    """(where, container) of a service on every node of both inventories that runs it."""
    return [
        (f"{inventory} {node['name']} {name}", container)
        for inventory in ("production", "lab")
        for node in cluster(inventory)
        if service in node["services"]
        for name, container in compose_of(service, inventory=inventory, host=node["host"])["services"].items()
    ]


@pytest.mark.parametrize("service", [role for role in tree.roles() if tree.is_service(role)])
def test_a_service_keeps_the_baseline_except_where_its_role_says_why(service):
    found = {where: deviations(container) for where, container in containers(service)}
    undocumented = {where: rules - set(exceptions(service)) for where, rules in found.items()}
    assert not any(undocumented.values()), undocumented
    needless = set(exceptions(service)) - set().union(*found.values()) if found else set()
    assert not needless, f"roles/{service}/meta/hardening.yml excuses what no container does: {needless}"


@pytest.mark.parametrize("inventory", ["production", "lab"])
def test_the_code_of_users_reaches_no_container_but_who_hands_it_requests(inventory):
    """Others may lack a login; they are asked through the gateway."""
    [node] = [node for node in cluster(inventory) if "jupyterhub" in node["services"]]
    networks = {
        service: set(container.get("networks", ["default"]))
        for service, entry in node["services"].items()
        if entry["image"]
        for container in compose_of(service, inventory=inventory, host=node["host"])["services"].values()
    }
    reached = {service for service, own in networks.items() if own & networks["jupyterhub"]}
    assert reached == {"jupyterhub", "nginx"}


@pytest.mark.parametrize("service", [role for role in tree.roles() if exceptions(role)])
def test_an_exception_names_a_rule_and_has_a_reason(service):
    assert set(exceptions(service)) <= set(RULES)
    assert all(len(reason.split()) > 3 for reason in exceptions(service).values())


# The other rules find something in containers whose role says why.
@pytest.mark.parametrize(("change", "rule"), [
    ({"security_opt": []}, "no-new-privileges"),
    ({"cap_drop": ["NET_RAW"]}, "cap_drop"),
    ({"user": "root"}, "user"),
    ({"pids_limit": -1}, "pids_limit"),
    ({"memswap_limit": "128m"}, "mem_limit"),
    ({"environment": {"GOMEMLIMIT": "64MiB"}}, "GOMEMLIMIT"),
    ({"logging": {"driver": "json-file"}}, "logging"),
    ({"image": "web:latest"}, "image"),
    ({"restart": "always"}, "restart"),
    ({"healthcheck": {}}, "healthcheck"),
    ({"privileged": True}, "privileged"),
    ({"devices": ["/dev/mem"]}, "devices"),
    ({"network_mode": "host"}, "host-namespaces"),
    ({"volumes": ["/run/docker.sock:/run/docker.sock:ro"]}, "docker.sock"),
    ({"volumes": ["/opt/aicluster/web/conf:/conf"]}, "mounts-read-only"),
    ({"ports": ["80:80"]}, "published-to-all"),
    ({"ports": ["0.0.0.0:80:80"]}, "published-to-all"),
], ids=str)  # fmt: skip
def test_a_rule_finds_what_breaks_it(change, rule):
    assert rule in deviations(GOOD | change)


KEPT = {
    service: {kept["volume"] for kept in entry.get("backup", []) if "volume" in kept}
    for service, entry in tree.catalogue().items()
}


@pytest.mark.parametrize("service", [service for service, volumes in KEPT.items() if volumes])
def test_what_a_backup_names_is_a_volume_of_the_service(service):
    mounts = [mount for _, container in containers(service) for mount in container["volumes"]]
    assert KEPT[service] <= {mount.partition(":")[0] for mount in mounts}
