"""Every container that is rendered for any node keeps the baseline, or its role says why it does not."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tree
from render import cluster, compose_of
from tree import ROOT, load

Container = Mapping[str, Any]


def _mounts(container: Container) -> list[str]:
    """Host paths a container sees; named volumes are none."""
    sources = [str(volume).split(":", 1)[0] for volume in container.get("volumes", [])]
    return [source for source in sources if source.startswith("/")]


# What must hold; a service that cannot keep a rule says why in roles/<service>/meta/hardening.yml.
RULES: dict[str, Callable[[Container], bool]] = {
    "no-new-privileges": lambda c: "no-new-privileges:true" in c.get("security_opt", []),
    "cap_drop": lambda c: c.get("cap_drop") == ["ALL"],
    "cap_add": lambda c: not c.get("cap_add"),
    "read_only": lambda c: c.get("read_only") is True,
    "user": lambda c: not re.match(r"(0|root)(:|$)", str(c.get("user", "root"))),
    "pids_limit": lambda c: 0 < int(c.get("pids_limit", 0)) <= 1024,
    "mem_limit": lambda c: bool(c.get("mem_limit")) and c.get("mem_limit") == c.get("memswap_limit"),
    # Go collects its garbage before the kernel ends the container.
    "GOMEMLIMIT": lambda c: (
        int(c.get("environment", {}).get("GOMEMLIMIT", "0MiB")[:-3]) < int(c.get("mem_limit", "1m")[:-1])
    ),
    "logging": lambda c: c.get("logging", {}).get("driver") == "journald",
    "image": lambda c: re.search(r":[^:/]*\d[^:/]*$", str(c.get("image"))) is not None,
    "restart": lambda c: c.get("restart") == "unless-stopped",
    "healthcheck": lambda c: bool(c.get("healthcheck", {}).get("test")),
    "privileged": lambda c: not c.get("privileged"),
    "devices": lambda c: not c.get("devices"),
    "host-namespaces": lambda c: not {"network_mode", "pid", "ipc", "userns_mode"} & set(c),
    "docker.sock": lambda c: not any("docker.sock" in path for path in _mounts(c)),
    "mounts": lambda c: all(path.startswith("/opt/aicluster/") for path in _mounts(c)),
    "mounts-read-only": lambda c: all(
        str(volume).endswith(":ro") for volume in c.get("volumes", []) if str(volume).startswith("/")
    ),
    "published-to-all": lambda c: all(
        re.match(r"\d+\.\d+\.\d+\.\d+:", str(port)) and not str(port).startswith("0.0.0.0")
        for port in c.get("ports", [])
    ),
}


def exceptions(service: str) -> dict[str, str]:
    path = Path("roles") / service / "meta" / "hardening.yml"
    return (load(path) or {}) if (ROOT / path).is_file() else {}


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
    found = {
        where: {name for name, holds in RULES.items() if not holds(container)}
        for where, container in containers(service)
    }
    undocumented = {where: rules - set(exceptions(service)) for where, rules in found.items()}
    assert not any(undocumented.values()), undocumented
    needless = set(exceptions(service)) - set().union(*found.values()) if found else set()
    assert not needless, f"roles/{service}/meta/hardening.yml excuses what no container does: {needless}"
