"""The nodes: containers that look like the boards they stand for."""

import socket
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from .containers import Containers, Description, exec_output, wake
from .errors import LabError
from .images import NODE
from .sitedata import Node

# Linux capabilities by number: linux/capability.h.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
MEBIBYTE = 1 << 20
READY_TIMEOUT_S = 120
SSH_PORT = 22
ASK = "systemctl is-active ssh docker; cat /etc/ssh/ssh_host_ed25519_key.pub /root/.ssh/authorized_keys"
AUTHORIZE = """umask 077
for home in /root /home/ansible; do printf "%s\\n" "$1" > $home/.ssh/authorized_keys; done
chown ansible: /home/ansible/.ssh/authorized_keys"""


def missing_capabilities(bounding_set: int, last: int) -> tuple[str, ...]:
    """Capabilities the kernel knows (numbers 0 to `last`) that this machine may not grant.

    `bounding_set` is CapBnd of /proc/self/status.
    """
    known = CAPABILITIES[: last + 1]
    return tuple(name for number, name in enumerate(known) if not bounding_set >> number & 1)


def host_missing_capabilities() -> tuple[str, ...]:
    """Capabilities this machine lacks; see missing_capabilities."""
    status = Path("/proc/self/status").read_text().splitlines()
    bounding_set = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd:"))
    return missing_capabilities(bounding_set, int(Path("/proc/sys/kernel/cap_last_cap").read_text()))


def host_config(memory_mb: int, missing: tuple[str, ...]) -> dict[str, Any]:
    """Describe what a node's container may do and use: a board's memory, and the rights of a machine.

    Where the host can grant everything this is a privileged container; where it lacks capabilities
    (`missing`), asking for all of them would fail, so all but those are granted one by one.
    """
    limits = {
        "Memory": memory_mb * MEBIBYTE,
        "MemorySwap": memory_mb * MEBIBYTE,
        "CgroupnsMode": "private",
        "Tmpfs": {"/run": "exec,mode=755", "/run/lock": "mode=1777", "/tmp": "exec,mode=1777"},
    }
    if not missing:
        return limits | {"Privileged": True}
    return limits | {
        "CapAdd": ["ALL"],
        "CapDrop": list(missing),
        "SecurityOpt": ["seccomp=unconfined", "apparmor=unconfined"],
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "DeviceCgroupRules": ["a *:* rwm"],
    }


def description(node: Node, missing: tuple[str, ...]) -> Description:
    """Describe the container of a node."""
    return Description(
        name=node.container,
        image=NODE,
        address=node.address,
        hostname=node.name,
        host_config=host_config(node.memory_mb, missing),
        volume_at="/var/lib/docker",
    )


def bring_up(
    containers: Containers, node: Node, missing: tuple[str, ...], public_key: str
) -> tuple[str, bool]:
    """Create or start a node and wait until its ssh and its engine answer.

    Returns its line of known_hosts, and whether anything changed.
    """
    container, created = containers.create(description(node, missing))
    changed = wake(container) or created
    deadline = time.monotonic() + READY_TIMEOUT_S
    answer = ""
    while time.monotonic() < deadline:
        answer = exec_output(container, ["sh", "-c", ASK])
        lines = answer.splitlines()
        if lines[:2] == ["active", "active"] and _listens(node.address):
            if public_key not in lines:  # the node is new, or the key is
                container.exec_run(["sh", "-c", AUTHORIZE, "sh", public_key])
            host_key = next(line for line in lines if line.startswith("ssh-")).rsplit(" ", 1)[0]
            return f"{node.address} {host_key}\n", changed
        time.sleep(0.5)
    logs = container.logs(tail=20).decode(errors="replace")
    raise LabError(
        f"The node {node.name} ({node.address}) is not up after {READY_TIMEOUT_S} s; ssh and docker say: "
        f"{answer.strip() or 'nothing'}. Look at `docker exec {node.container} journalctl -b`.\n{logs}"
    )


def _listens(address: IPv4Address) -> bool:
    try:
        socket.create_connection((str(address), SSH_PORT), timeout=2).close()
    except OSError:
        return False
    return True
