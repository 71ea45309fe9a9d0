"""A power cut: every service comes back by itself, though the addresses of the nodes come late.

Docker binds published ports once, and leaves down what was ever sent a signal through it.
"""

import os
import time
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
import site_under_test as site
from aicluster_lab.containers import exec_output
from aicluster_lab.parallel import in_parallel
from load import board
from verified import verify

NODES = site.nodes()
SIGNALLED = "nginx"
LATE_S = 20 if os.environ.get("AICLUSTER_FULL") else 10
WITHIN_S = LATE_S + 240
UNIT = "late-address.service"
PATH = f"/etc/systemd/system/{UNIT}"
# Taken away before the node's engine starts, as by a router that needs its time.
LATE_ADDRESS = """
[Unit]
Before=docker.service
[Service]
ExecStartPre=/usr/sbin/ip address flush dev eth0
ExecStart=/bin/sh -c 'until systemctl is-active docker; do sleep 1; done; sleep {late_s}; \\
  ip address add {address} dev eth0 && ip route add default via {router}'
RemainAfterExit=yes
[Install]
WantedBy=multi-user.target
"""


def inside(node: site.Node, command: str) -> str:
    """What a command prints on a node, which needs no address for it."""
    return exec_output(board(node), ["sh", "-c", command])


@pytest.fixture
def late_addresses() -> Iterator[None]:
    """From the next start on, every node gets its address seconds after its engine runs."""
    prefix = ip_network(site.variable(NODES[0], "site_network")).prefixlen
    router = site.variable(NODES[0], "site_router")
    for node in NODES:
        unit = LATE_ADDRESS.format(late_s=LATE_S, address=f"{node.address}/{prefix}", router=router)
        inside(node, f"cat > {PATH} <<'UNIT'\n{unit}\nUNIT\nsystemctl enable {UNIT}")
    yield
    for node in NODES:
        inside(node, f"systemctl disable {UNIT}; rm {PATH}; systemctl daemon-reload")


def moment(node: site.Node, unit: str, event: str) -> int:
    """When something happened to a unit, in microseconds of the node's own clock."""
    return int(inside(node, f"systemctl show --value --property {event}Monotonic {unit}"))


@pytest.mark.usefixtures("late_addresses")
def test_all_services_come_back_by_themselves_after_a_power_cut(record_property):
    rebooted = next(node for node in NODES if SIGNALLED in node.services)
    own = f"docker ps --quiet --filter label=aicluster.service={SIGNALLED}"
    inside(rebooted, f"docker kill --signal HUP $({own})")
    board(rebooted).stop(timeout=60)
    in_parallel(len(NODES), lambda node: board(node).kill(), [node for node in NODES if node != rebooted])
    began = time.monotonic()
    in_parallel(len(NODES), lambda node: board(node).start(), NODES)
    limit = ",".join(node.address for node in NODES)
    while not (verdict := verify("--limit", limit)).ok and time.monotonic() < began + WITHIN_S:
        pass
    record_property("seconds until all was well again", round(time.monotonic() - began, 1))
    assert verdict.ok, verdict.report["failures"]
    for node in NODES:
        late = moment(node, UNIT, "ExecMainExitTimestamp") - moment(node, "docker", "ActiveEnterTimestamp")
        assert late > 0, f"{node.name} had its address before its engine"
