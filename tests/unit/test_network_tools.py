"""What the operator's network tool computes; tests/testinfra/network_tools lets it look at a network."""

import argparse
import ipaddress
import json
from pathlib import Path
from typing import Any

import aicluster_verify
import pytest
import render
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import Broken
from by_path import import_file

net = import_file("roles/network_tools/templates/opt/aicluster/bin/aicluster_net.py", "aicluster_net")
SITE: dict[str, Any] = {
    "node": "PI31",
    "network": "10.0.0.0/24",
    "router": "10.0.0.1",
    "internet": "example.com",
    "nodes": [
        {"name": "PI31", "host": "10.0.0.31", "address": "10.0.0.31", "ssh_port": 22, "mac": None},
        {
            "name": "AGX0",
            "host": "agx0.lan",
            "address": "10.0.0.54",
            "ssh_port": 2222,
            "mac": "48-B0-2D-00-00-01",
        },
        {"name": "ORIN0", "host": "10.0.0.57", "address": "10.0.0.57", "ssh_port": 22, "mac": None},
    ],
    "clocks": [{"name": "PI51", "server": "10.0.0.51:80"}],
    "known_devices": [
        {"name": "printer", "mac": "AA:BB:CC:00:00:01"},
        {"name": "switch", "address": "10.0.0.2"},
    ],
}


# --- what is rendered ---


@pytest.mark.parametrize("inventory", sorted(render.SOURCES))
def test_the_tool_knows_the_inventory_and_no_secret(inventory):
    text = render.render_role("network_tools", inventory=inventory)["/opt/aicluster/network.json"]
    site = json.loads(text)
    assert set(site) == set(SITE)
    assert {node["name"] for node in site["nodes"]} == {n["name"] for n in render.cluster(inventory)}
    assert [clock["name"] for clock in site["clocks"]] == ["PI51"], "NANO's door is for the gateway only"
    assert not [secret for secret in render.made_up_secrets().values() if secret in text]


def test_a_node_can_be_given_its_mac_address_and_the_site_its_devices():
    nodes = [{**node, "mac": "aa:bb:cc:dd:ee:ff"} for node in render.cluster("production")]
    known = [{"name": "printer", "mac": "aa:bb:cc:00:00:01"}]
    changed = {"cluster_nodes": nodes, "network_tools_known_devices": known}
    site = json.loads(render.render_role("network_tools", overrides=changed)["/opt/aicluster/network.json"])
    assert {node["mac"] for node in site["nodes"]} == {"aa:bb:cc:dd:ee:ff"}
    assert site["known_devices"] == known


def test_the_command_is_executable_and_the_rest_is_not():
    modes = {file.path.rsplit("/", 1)[1]: file.mode for file in render.files_of("network_tools")}
    assert modes["aicluster-net"] == "0755"
    assert modes["network.json"] == "0644"


# --- reading what the system says ---

PING = """PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.

--- 10.0.0.1 ping statistics ---
2 packets transmitted, {received} received, 0% packet loss, time 201ms
"""
RTT = "rtt min/avg/max/mdev = 0.321/0.456/0.591/0.135 ms\n"


@pytest.mark.parametrize(
    ("said", "ms"),
    [(PING.format(received=2) + RTT, 0.456), (PING.format(received=0), None), ("", None)],
    ids=["an answer", "no answer", "no ping installed"],
)
def test_the_mean_round_trip_is_read(said, ms):
    assert net.ping_ms(said) == ms


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("default via 10.0.0.1 dev eth0 proto dhcp metric 100\n", "10.0.0.1"),
        ("default dev ppp0 scope link\n", None),
        ("", None),
    ],
    ids=["the router", "a line without a router", "none"],
)
def test_the_default_route_is_read(said, address):
    assert net.default_route(said) == address


NEIGHBOURS = """10.0.0.1 dev eth0 lladdr aa:bb:cc:00:00:ff REACHABLE
10.0.0.7 dev eth0 FAILED
10.0.0.8 dev eth0 INCOMPLETE
172.18.0.2 dev br-0 lladdr 02:42:ac:12:00:02 REACHABLE
10.0.0.9 dev eth0 lladdr aa:bb:cc:00:00:09 extern_learn STALE
"""


def test_neighbours_of_other_networks_are_left_out():
    assert net.neighbours(NEIGHBOURS, "10.0.0.0/24") == {
        "10.0.0.1": ("aa:bb:cc:00:00:ff", "REACHABLE"),
        "10.0.0.7": (None, "FAILED"),
        "10.0.0.8": (None, "INCOMPLETE"),
        "10.0.0.9": ("aa:bb:cc:00:00:09", "STALE"),
    }


def test_own_addresses_are_those_in_the_site():
    said = (
        "1: lo    inet 127.0.0.1/8 scope host lo\n"
        "2: eth0    inet 10.0.0.31/24 brd 10.0.0.255 scope global eth0\n"
        "3: docker0    inet 172.17.0.1/16 brd 172.17.255.255 scope global docker0\n"
    )
    assert net.own_addresses(said, "10.0.0.0/24") == {"10.0.0.31": "eth0"}


# --- wake-on-LAN ---


@pytest.mark.parametrize("mac", ["aa:bb:cc:dd:ee:ff", "AA-BB-CC-DD-EE-FF", "aabb.ccdd.eeff"])
def test_a_magic_packet_is_six_times_ff_and_sixteen_times_the_address(mac):
    packet = net.magic_packet(mac)
    assert len(packet) == 102
    assert packet == b"\xff" * 6 + b"\xaa\xbb\xcc\xdd\xee\xff" * 16


@pytest.mark.parametrize("mac", ["", "aa:bb:cc:dd:ee", "aa:bb:cc:dd:ee:ff:00", "192.168.1.1"])
def test_what_is_no_mac_address_is_refused(mac):
    with pytest.raises(net.NetError, match="is no MAC address"):
        net.magic_packet(mac)


def test_a_node_is_found_however_its_name_is_typed():
    assert net.node_to_wake(SITE, "agx0")["name"] == "AGX0"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AGX1", "there is no node AGX1; there are PI31, AGX0, ORIN0"),
        ("ORIN0", "set node_mac in host_vars/10.0.0.57/node.yml"),
    ],
    ids=["an unknown name", "a node whose address is not known"],
)
def test_a_node_that_cannot_be_woken_says_why(name, message):
    with pytest.raises(net.NetError, match=message):
        net.node_to_wake(SITE, name)


# --- scan ---


@pytest.mark.parametrize("network", ["10.0.0.0/24", "192.168.0.0/22"])
def test_every_address_asked_is_a_host_of_the_sites_network(network):
    asked = net.targets(network)
    whole = ipaddress.ip_network(network)
    assert all(ipaddress.ip_address(address) in whole for address in asked)
    assert len(asked) == whole.num_addresses - 2


def test_a_network_too_big_to_ask_is_refused():
    with pytest.raises(net.NetError, match="65536 addresses: a scan asks at most 1024"):
        net.targets("10.0.0.0/16")


def test_a_machine_outside_the_site_does_not_scan(monkeypatch):
    monkeypatch.setattr(net, "run", lambda _argv: "2: eth0    inet 172.16.0.2/24 scope global eth0\n")
    monkeypatch.setattr(net, "stir", lambda _addresses: pytest.fail("something was sent"))
    with pytest.raises(net.NetError, match="a scan would leave the site"):
        net.scan(SITE)


@pytest.mark.parametrize(
    ("address", "mac", "identity"),
    [
        pytest.param("10.0.0.54", "48:b0:2d:00:00:01", ("AGX0", "node"), id="a node"),
        pytest.param("10.0.0.54", "48:b0:2d:00:00:02", ("AGX0", "impostor"), id="another at its address"),
        pytest.param("10.0.0.57", "48:b0:2d:00:00:03", ("ORIN0", "node"), id="a node without a MAC address"),
        pytest.param("10.0.0.31", None, ("PI31", "node"), id="this machine"),
        pytest.param("10.0.0.1", "aa:bb:cc:00:00:ff", ("router", "router"), id="the router"),
        pytest.param("10.0.0.99", "aa:bb:cc:00:00:01", ("printer", "known"), id="known by MAC address"),
        pytest.param("10.0.0.2", "aa:bb:cc:00:00:07", ("switch", "known"), id="known by address"),
        pytest.param("10.0.0.3", "aa:bb:cc:00:00:07", ("", "unknown"), id="nobody knows it"),
    ],
)
def test_a_device_is_told_by_inventory_and_list(address, mac, identity):
    assert net.identify(SITE, address, mac) == identity


def test_devices_are_those_that_answered_in_the_order_of_addresses():
    found = net.neighbours(
        NEIGHBOURS + "10.0.0.100 dev eth0 lladdr 0a:00:00:00:00:01 REACHABLE\n", "10.0.0.0/24"
    )
    listed = net.devices(SITE, found, ["10.0.0.31"])
    assert [device["address"] for device in listed] == ["10.0.0.1", "10.0.0.9", "10.0.0.31", "10.0.0.100"]
    assert listed[-1]["note"] == "made-up MAC address, as phones have"


# --- check ---


@pytest.mark.parametrize(
    ("echo", "ssh", "state"),
    [(0.5, 1.0, "ok"), (None, 1.0, "warn"), (0.5, None, "fail"), (None, None, "fail")],
    ids=["well", "ping is dropped", "no ssh", "away"],
)
def test_a_node_is_reachable_when_ssh_is(monkeypatch, echo, ssh, state):
    monkeypatch.setattr(net, "ping", lambda _address: echo)
    monkeypatch.setattr(
        net, "connect_ms", lambda _address, port: ssh if port == 2222 else pytest.fail("port")
    )
    assert net.check_node(SITE["nodes"][1])["state"] == state


@pytest.mark.parametrize(
    ("echo", "via", "state"),
    [(0.5, "10.0.0.1", "ok"), (0.5, "10.0.0.9", "warn"), (None, "10.0.0.1", "fail")],
    ids=["well", "the way out leads elsewhere", "it does not answer"],
)
def test_the_router_answers_and_is_the_way_out(monkeypatch, echo, via, state):
    monkeypatch.setattr(net, "ping", lambda _address: echo)
    monkeypatch.setattr(net, "run", lambda _argv: f"default via {via} dev eth0\n")
    assert net.check_router(SITE)["state"] == state


@pytest.mark.parametrize(
    ("date", "offset"),
    [
        ("Mon, 23 Nov 2026 10:00:00 GMT", 0.5),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.5),
        ("yesterday", None),
    ],
)
def test_a_clock_is_compared_by_its_http_date(date, offset):
    assert net.clock_offset(date, 1795428000.0) == offset


@pytest.mark.parametrize(
    ("synchronized", "ahead_s", "state"),
    [("yes", 0, "ok"), ("yes", 60, "warn"), ("no", 0, "warn"), ("", 0, "ok")],
    ids=["well", "a minute off", "not synchronized", "nobody says"],
)
def test_a_clock_that_is_off_is_a_warning(monkeypatch, synchronized, ahead_s, state):
    import email.utils
    import time

    monkeypatch.setattr(net, "run", lambda _argv: f"{synchronized}\n")
    monkeypatch.setattr(net, "http_date", lambda _server: email.utils.formatdate(time.time() + ahead_s))
    assert net.check_clock(SITE)["state"] == state


FINDINGS = [
    {"what": "router", "state": "ok", "shown": "10.0.0.1"},
    {"what": "AGX0", "state": "fail", "shown": "10.0.0.54  ping -, ssh -"},
    {"what": "internet", "state": "warn", "shown": "-"},
]


@pytest.mark.parametrize(
    ("findings", "code"), [(FINDINGS, 1), ([FINDINGS[0], FINDINGS[2]], 0)], ids=["a failure", "a warning"]
)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_failure_is_an_exit_code_and_a_sentence_and_a_warning_is_not(
    monkeypatch, capsys, findings, code, as_json
):
    monkeypatch.setattr(net, "check", lambda _site: findings)
    assert net.do_check(SITE, argparse.Namespace(json=as_json)) == code
    printed = capsys.readouterr()
    assert ("AGX0 does not answer" in printed.err) == bool(code)
    assert not as_json or json.loads(printed.out)["findings"] == findings


def test_without_internet_nobody_outside_is_asked(monkeypatch):
    for name in ("check_router", "check_node", "check_clock"):
        monkeypatch.setattr(net, name, lambda _what: {})
    for name in ("check_names", "check_internet"):
        monkeypatch.setattr(net, name, lambda _what: pytest.fail("somebody was asked"))
    net.check(SITE | {"internet": ""})


def test_a_missing_file_names_the_command_that_writes_it(capsys, tmp_path):
    assert net.main(["check"], str(tmp_path / "network.json")) == 2
    assert "ansible-playbook site.yml" in capsys.readouterr().err


# --- the check of verify ---

check_file = check_of("network_tools")


def kit_of(findings: list[dict[str, Any]]) -> ScriptedKit:
    printed = json.dumps({"node": "PI31", "findings": findings})
    return ScriptedKit(
        site("PI31", {}), commands={"sh -c *(/opt/aicluster/bin/aicluster-net check --json)*": printed}
    )


def test_verify_counts_the_nodes_and_names_what_is_worth_a_look():
    findings: list[dict[str, Any]] = [
        {"what": "router", "state": "ok", "shown": ""},
        {"what": "AGX0", "state": "ok", "shown": "", "ssh_ms": 1.25},
        {"what": "ORIN0", "state": "ok", "shown": "", "ssh_ms": 0.5},
        {"what": "clock", "state": "warn", "shown": "not synchronized"},
    ]
    told = check_file.check(kit_of(findings))
    assert told == "router and 2 nodes answer, AGX0 last after 1.2 ms; clock: not synchronized"


def test_verify_names_who_does_not_answer_and_only_a_node_has_services_that_may_be_why():
    findings: list[dict[str, Any]] = [
        {"what": "router", "state": "fail", "shown": "10.0.0.254  ping -"},
        {"what": "AGX0", "state": "fail", "shown": "10.0.0.1  ping -, ssh -", "ssh_ms": None},
        {"what": "ORIN0", "state": "ok", "shown": "", "ssh_ms": 0.5},
    ]
    with pytest.raises(Broken) as broken:
        check_file.check(kit_of(findings))
    assert broken.value.evidence == (
        "router does not answer: 10.0.0.254  ping -; AGX0 does not answer: 10.0.0.1  ping -, ssh -"
    )
    assert broken.value.because == ["node_exporter on AGX0"]


def findings_of(tool: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the check reads of a tool: a script of the shell."""
    script = folder / "aicluster-net"
    script.write_text(f"#!/bin/sh\n{tool}\n")
    script.chmod(0o755)
    monkeypatch.setattr(check_file, "NET", f"{script} check")
    return check_file.findings(aicluster_verify.Kit({"node": "PI31", "services": {}, "cluster": []}, "run-1"))


def test_findings_are_read_although_the_tool_fails_when_somebody_does_not_answer(tmp_path, monkeypatch):
    tool = r"""printf %s '{"findings": [{"shown": "a\\b"}]}'; exit 1"""
    assert findings_of(tool, tmp_path, monkeypatch) == [{"shown": "a\\b"}]


def test_a_tool_that_found_nothing_is_broken_with_what_it_said(tmp_path, monkeypatch):
    with pytest.raises(Broken, match="no file"):
        findings_of("echo no file >&2; exit 2", tmp_path, monkeypatch)
