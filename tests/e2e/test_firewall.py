"""Every port tried from a stranger on the LAN, and rules that lock the run out.

From nodes and their containers `bin/verify` tries them.
"""

import json
import subprocess
import time
from ipaddress import ip_network

import fake_lan
import pytest
import site_under_test as site
from aicluster_lab.containers import NETWORK
from aicluster_lab.images import NODE
from load import board
from verified import all_is_healthy, verify

from aicluster.site.addresses import is_open

NODES = site.nodes()
SERVICES = [service for node in NODES for service in node.services.values()]
# Also one that nothing has.
NUMBERS = sorted({22, 2375, *(port["port"] for service in SERVICES for port in service["ports"].values())})
PLACES = [(node.address, number) for node in NODES for number in NUMBERS]
TABLE = "nft --stateless list table inet aicluster"
EDGE = next(node for node in NODES if "edge" in node.groups)
BACK_WITHIN_S = 60
FULL = pytest.mark.full
# So many restarts in a row look like a service that fails.
RESTART = "systemctl reset-failed docker && systemctl restart docker"


def seen_by_a_stranger() -> set[fake_lan.Place]:
    """What answers a container on the lab's network that nobody knows."""
    container = ["--rm", "--interactive", f"--network={NETWORK}", "--entrypoint=python3", NODE]
    command = ["docker", "run", *container, "-c", fake_lan.KNOCK, fake_lan.SILENCE_S]
    ran = subprocess.run(command, input=json.dumps(PLACES), capture_output=True, text=True, check=True)
    return {(host, port) for host, port in json.loads(ran.stdout)}


def test_a_stranger_reaches_what_is_declared_for_the_lan_and_nothing_else():
    declared = {
        (node.address, port["port"])
        for node in NODES
        for service in node.services.values()
        for port in service["ports"].values()
        if is_open(port, "lan")
    }
    assert seen_by_a_stranger() == declared != set()


def keeps_out_a_stranger() -> bool:
    return EDGE.address not in {address for address, _ in seen_by_a_stranger()}


@pytest.mark.parametrize(("restart", "afterwards"), [
    (RESTART, "true"),
    ("systemctl restart aicluster-firewall", "true"),
    # It flushes the rules of all, also those of Docker.
    pytest.param("systemctl restart nftables", f"systemctl stop nftables && {RESTART}", marks=FULL),
])  # fmt: skip
def test_the_rules_outlive_a_restart(restart, afterwards):
    try:
        site.shell(EDGE, restart)
        assert keeps_out_a_stranger()
    finally:
        site.shell(EDGE, afterwards)


@FULL
def test_the_rules_are_there_after_a_reboot():
    board(EDGE).restart(timeout=60)
    site.wait_until(lambda: verify("--limit", EDGE.address).ok, 240, "the edge does not come back", 5)
    assert keeps_out_a_stranger()


@FULL
def test_rules_that_lock_the_run_out_are_taken_back_by_themselves():
    # As rules are that a template got wrong: the run itself refuses operators without its own address.
    delivered = "/etc/aicluster/firewall.nft"
    before = site.shell(EDGE, TABLE)
    wrong = f"sed 's/dport 22 accept/dport 22 drop/' -i {delivered}"
    site.shell(EDGE, f"{wrong} && /opt/aicluster/bin/aicluster_firewall.py try")
    began = time.monotonic()
    program, *words = site.as_root(EDGE)
    ssh = [program, "-oControlPath=none", "-oConnectTimeout=3", *words, "true"]
    assert subprocess.run(ssh, capture_output=True, check=False).returncode, "the rules shut it out"
    while subprocess.run(ssh, capture_output=True, check=False).returncode:
        assert time.monotonic() < began + BACK_WITHIN_S
    assert site.shell(EDGE, TABLE) == before
    assert site.run_site("--limit", EDGE.address).succeeded().changed[EDGE.address] > 0
    all_is_healthy("--limit", EDGE.address)


def test_a_run_whose_address_is_no_operator_is_refused_before_anything_changes():
    other = json.dumps({"site_operators": [str(ip_network(site.variable(EDGE, "site_network"))[99])]})
    before = site.fingerprint(EDGE)
    run = site.run_site("--limit", EDGE.address, "-e", other)
    assert run.code and "the run locks itself out" in " ".join(run.output.split())
    assert site.fingerprint(EDGE) == before


@FULL
def test_a_firewall_of_the_users_own_is_refused_by_name():
    chain = "{ type filter hook input priority 0; policy drop; tcp dport 22 accept; }"
    site.shell(EDGE, f"nft 'table inet own {{ chain in {chain}; }}'")
    try:
        run = site.run_site("--limit", EDGE.address)
    finally:
        site.shell(EDGE, "nft delete table inet own")
    named = f"firewall of {EDGE.name} chain in of nftables table inet own: must not be there"
    assert run.code and named in " ".join(run.output.split())


@FULL
def test_the_firewall_goes_when_the_node_turns_it_off_and_comes_back():
    off = json.dumps({"site_firewall": False})
    site.run_site("--limit", EDGE.address, "-e", off).succeeded()
    try:
        assert "aicluster" not in site.shell(EDGE, "nft list tables")
        assert (EDGE.address, 22) in seen_by_a_stranger()
    finally:
        site.run_site("--limit", EDGE.address).succeeded()
    assert keeps_out_a_stranger()
