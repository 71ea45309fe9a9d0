"""What an inspection returns of a node that is as it should be, and what a test changes of that."""

from typing import Any

NOTHING_DIFFERS: dict[str, Any] = {
    "facts": {"os": "debian"}, "differing": [], "leftover": [], "packages": [], "unfinished": [], "units": [],
    "containers": [], "orphans": [], "profile": None, "inactive": [], "unexpected": [], "pending": [],
    "provisioned": {}, "probes": {}, "replaced": {},
    "conditions": {"engine": {"version": "26.1.5", "api": "1.45"}, "volumes": [], "images": {}},
}  # fmt: skip


def inspected(**changes: Any) -> dict[str, Any]:
    return {**NOTHING_DIFFERS, **changes}


def files(reason: str, *paths: str) -> dict[str, Any]:
    return {"differing": [{"path": path, "reason": reason, "before": ""} for path in paths]}


def container(why: str, service: str) -> dict[str, Any]:
    """A container that differs: `missing`, `changed`, `unhealthy`, ..."""
    return {"containers": [{"service": service, "why": why}]}


def conditions(**changes: Any) -> dict[str, Any]:
    return {"conditions": NOTHING_DIFFERS["conditions"] | changes}


# What the preflight checks a node by, of one without findings.
FOUND: dict[str, Any] = {
    "board": {"machine": "aarch64", "bits": 64, "memory_mb": 1849, "l4t": "", "held": [], "absent": []},
    "memory_cgroup": {"on": True, "evidence": "", "cmdline": ""},
    "engine": {"absent": False, "version": "26.1.5", "api": "1.45", "ready": True},
    "compose": "2.26.1-4",
    "starting": None,
    "disks": [
        {"path": path, "mount": "/", "device": 1, "docker": data, "free_mb": 20480, "size_mb": 29696}
        for path, data in (("/", False), ("/opt/aicluster", False), ("/var/lib/docker", True))
    ],
    "volumes": [],
    "images": {},
    "replaced": {},
    "key_login": None,
    "firewalls": None,
}
