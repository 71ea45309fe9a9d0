"""The baseline every container is held to, and where one deviates from it."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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


def deviations(container: Container) -> set[str]:
    return {name for name, holds in RULES.items() if not holds(container)}


def exceptions(service: str) -> dict[str, str]:
    path = Path("roles") / service / "meta" / "hardening.yml"
    return (load(path) or {}) if (ROOT / path).is_file() else {}
