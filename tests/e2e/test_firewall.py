"""The port matrix, tried from a stranger on the LAN and from every node, and rules that lock the run out."""

import json
import subprocess
import time
from ipaddress import ip_network

import fake_lan
import pytest
import site_under_test as site
from aicluster_lab.containers import NETWORK
from aicluster_lab.images import NODE
from aicluster_lab.parallel import in_parallel
from load import board
from verified import all_is_healthy, verify

from aicluster.site.addresses import is_open
from aicluster.site.containers import ASKING
from aicluster.site.ingress import ingress_pages

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


def declared(audience: str, sees: site.Node | None = None) -> set[fake_lan.Place]:
    """What an audience shall reach, as the services say; a node does not ask itself."""
    return {
        (node.address, port["port"])
        for node in NODES
        if node != sees
        for one in node.services.values()
        for port in one["ports"].values()
        if is_open(port, audience)
    }


def answers_of(printed: str) -> set[fake_lan.Place]:
    return {(host, port) for host, port in json.loads(printed)}


def seen_by_a_stranger() -> set[fake_lan.Place]:
    """What answers a container on the lab's network that nobody knows."""
    container = ["--rm", "--interactive", f"--network={NETWORK}", "--entrypoint=python3", NODE]
    command = ["docker", "run", *container, "-c", fake_lan.KNOCK, fake_lan.SILENCE_S]
    ran = subprocess.run(command, input=json.dumps(PLACES), capture_output=True, text=True, check=True)
    return answers_of(ran.stdout)


def seen_by(node: site.Node) -> set[fake_lan.Place]:
    places = json.dumps([place for place in PLACES if place[0] != node.address])
    return answers_of(
        site.shell(node, f"echo '{places}' | python3 -c '{fake_lan.KNOCK}' {fake_lan.SILENCE_S}")
    )


def test_a_stranger_reaches_what_is_declared_for_the_lan_and_nothing_else():
    assert seen_by_a_stranger() == declared("lan") != set()


def test_every_node_reaches_what_names_its_tier_and_nothing_else():
    for node, seen in zip(NODES, in_parallel(len(NODES), seen_by, NODES), strict=True):
        logs_in = "control_node" in node.services
        ssh = {(other.address, 22) for other in NODES if logs_in and other != node}
        assert seen == declared(str(node.entry["tier"]), node) | ssh, node.name


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


# ---------------------------------------------------------------- containers

PIDS = "docker inspect --format '{{.State.Pid}} {{index .Config.Labels \"aicluster.service\"}}'"
RUNNING = f"docker ps --quiet --filter label=aicluster.service | xargs --no-run-if-empty {PIDS}"
# The lab's registry: a machine of the LAN that is no node, and answers anybody who comes that far.
REGISTRY, REGISTRY_PORT = site.variable(EDGE, "site_image_mirror").split(":")
IN_THE_LAN = (REGISTRY, int(REGISTRY_PORT))


def seen_by_containers(node: site.Node) -> dict[str, set[fake_lan.Place]]:
    """What answers each container of a node: of nodes, this one too, and of the LAN."""
    places = json.dumps([*PLACES, IN_THE_LAN])

    def seen(pid: str) -> set[fake_lan.Place]:
        knock = f"nsenter --target {pid} --net python3 -c '{fake_lan.KNOCK}' {fake_lan.SILENCE_S}"
        return answers_of(site.shell(node, f"echo '{places}' | {knock}"))

    pids, services = zip(*map(str.split, site.shell(node, RUNNING).splitlines()), strict=True)
    return dict(zip(services, in_parallel(4, seen, pids), strict=True))


def declared_for(service: str, node: site.Node) -> set[fake_lan.Place]:
    """What a container may reach, as its service says; `ASKING` names pages of others."""
    entry, page = node.services[service], ASKING.get(service)
    named = {*entry.get("needs", []), *entry.get("reaches", [])}
    if service == "nginx":
        named |= {page["service"] for page in ingress_pages(node.entry, [one.entry for one in NODES])}
    return {
        (other.address, port["port"])
        for other in NODES
        for target, its in other.services.items()
        for name, port in its["ports"].items()
        if target in named or (page and (its.get(page) or {}).get("port") == name)
    } | ({IN_THE_LAN} if "lan" in entry.get("reaches", []) else set())


def test_no_container_reaches_what_its_service_does_not_declare():
    contained = [node for node in NODES if node.containers]
    seen = in_parallel(len(contained), seen_by_containers, contained)
    wrong = {
        (node.name, service): places - declared_for(service, node)
        for node, by_service in zip(contained, seen, strict=True)
        for service, places in by_service.items()
    }
    assert not {who: places for who, places in wrong.items() if places}
    reached = {
        (service, place) for by_service in seen for service, places in by_service.items() for place in places
    }
    assert {("alertmanager", IN_THE_LAN)} <= reached and "kong" in {service for service, _ in reached}
