"""What the lab needs of this machine and of the inventory: refused before anything is made, or said."""

import json
import os
import subprocess
import threading
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aicluster_lab import engine, firewall, nodes, sitedata, subnet
from aicluster_lab.errors import LabError
from aicluster_lab.lock import held, require_owner
from aicluster_lab.subnet import Occupied
from tables import cases

DEBIAN = {"ID": "debian"}
UBUNTU_LIKE = {"ID": "mint", "ID_LIKE": "ubuntu debian"}


@cases(("uid", "system", "foreign", "words"), {
    "root on Debian may": (0, DEBIAN, False, ""),
    "root on something like Ubuntu may": (0, UBUNTU_LIKE, False, ""),
    "a user learns how to become able": (1000, DEBIAN, False, "usermod -aG docker"),
    "another system": (0, {"ID": "fedora", "PRETTY_NAME": "Fedora 43"}, False, "Fedora 43"),
    "not when another engine was asked for": (0, DEBIAN, True, "DOCKER_HOST"),
})  # fmt: skip
def test_why_an_engine_cannot_be_installed(uid, system, foreign, words):
    with pytest.raises(LabError, match=words) if words else nullcontext():
        engine.require_installable(uid, system, foreign)


@cases(("info", "words"), {
    "Debian 12's engine": ({"ServerVersion": "20.10.24+dfsg1"}, ""),
    "an engine without cgroup v2": ({"ServerVersion": "19.03.15"}, "needs 20.10"),
    "versions are numbers, not text": ({"ServerVersion": "9.1.0"}, "needs 20.10"),
    "a rootless engine": (
        {"ServerVersion": "28.5.2", "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]},
        "rootless"),
    "Docker Desktop": ({"ServerVersion": "28.5.2", "OperatingSystem": "Docker Desktop"}, "Desktop"),
})  # fmt: skip
def test_why_nodes_cannot_run_on_an_engine(info, words):
    with pytest.raises(LabError, match=words) if words else nullcontext():
        engine.require_usable(info)


SELF = {"unit": "", "pid": os.getpid(), "start_ticks": 1}
A_UNIT = {"unit": "docker.service", "pid": 0, "start_ticks": 0}
BUSY = SimpleNamespace(containers=SimpleNamespace(list=lambda: ["a container"]))


@cases(("record", "answering"), {
    "one the lab did not start": (None, None),
    "a process that took over the engine's number": (SELF, None),
    "one that runs somebody else's container": (A_UNIT, BUSY),
})  # fmt: skip
def test_what_is_not_the_labs_alone_is_not_stopped(record, answering, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "answering", lambda: answering)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing is to be stopped"))
    if record:
        (tmp_path / "engine.json").write_text(json.dumps(record))
    assert engine.stop(tmp_path) is False


def test_the_second_command_waits_for_the_first(tmp_path, capsys):
    order = []

    def second():
        with held(tmp_path):
            order.append("second")

    with held(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(timeout=0.3)
        order.append("first")
    waiting.join(timeout=5)
    assert order == ["first", "second"]
    assert "waiting" in capsys.readouterr().out


def test_another_users_lab_is_refused_by_both_names(tmp_path, monkeypatch):
    require_owner(tmp_path, tmp_path / "missing")
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(LabError, match=rf"belongs to user {owner}, this is user {owner + 1}"):
        require_owner(tmp_path)


ALL = (1 << len(nodes.CAPABILITIES)) - 1
LAST = len(nodes.CAPABILITIES) - 1


@cases(("bounding_set", "last", "expected"), {
    "a full machine lacks nothing": (ALL, LAST, ()),
    "a cleared bit is a missing capability": (ALL & ~(1 << 24), LAST, ("SYS_RESOURCE",)),
    "an older kernel does not lack what it does not know": ((1 << 38) - 1, 37, ()),
    "a newer kernel's unknown capabilities are not asked for": (ALL, LAST + 1, ()),
})  # fmt: skip
def test_missing_capabilities(bounding_set, last, expected):
    assert nodes.missing_capabilities(bounding_set, last) == expected


HOST = "198.18.77.147"
NODE: dict[str, Any] = {
    "host": HOST, "address": HOST, "name": "PI51", "tier": "gateway", "memory_mb": 8192,
    "services": {"nginx": {"image": "nginx:1", "ports": {"http": {"port": 80}}}, "native": {"image": None}},
}  # fmt: skip
SITE = {
    "lab": [HOST], "site_network": "198.18.77.0/24", "site_router": "198.18.77.1",
    "site_image_mirror": "198.18.77.2:5000",
}  # fmt: skip


@cases(("changes", "message"), {
    "a node without memory": ({"memory_mb": None}, "198.18.77.147: .*node_memory_mb is missing"),
    "no ingress": ({"services": {}}, "No host of the group `gateway` runs nginx"),
    "a router elsewhere": ({"site_router": "10.0.0.1"}, "site_router 10.0.0.1.*inside it"),
    "a registry elsewhere": ({"site_image_mirror": "10.0.0.2:5000"}, "site_image_mirror 10.0.0.2"),
})  # fmt: skip
def test_what_is_wrong_is_named(changes, message):
    assert sitedata.site_from(Path("/checkout"), {"nodes": [NODE], **SITE}).images == ("nginx:1",)
    with pytest.raises(LabError, match=message):
        sitedata.site_from(Path("/checkout"), {"nodes": [NODE | changes], **SITE, **changes})


LAB = IPv4Network("198.18.77.0/24")


@cases("used", {
    "a network around it": "198.18.0.0/15",
    "a network inside it": "198.18.77.128/25",
    "a single address inside it": "198.18.77.53/32",
})  # fmt: skip
def test_a_network_that_overlaps_what_is_in_use_is_refused_with_the_files_to_edit(used):
    named = r"198\.18\.77\.0/24 overlaps .*: this; that\. .*lab/group_vars/lab\.yml.*lab/hosts\.yml"
    with pytest.raises(LabError, match=named):
        subnet.require_free(LAB, [Occupied(IPv4Network(used), what) for what in ("this", "that")])


@cases(("route", "expected"), {
    "a network": ({"dst": "10.1.0.0/16", "dev": "eth0"}, ["route 10.1.0.0/16 on eth0"]),
    "a single host": ({"dst": "10.1.2.3", "dev": "wg0"}, ["route 10.1.2.3/32 on wg0"]),
    "a hole": ({"dst": "10.9.0.0/16", "type": "blackhole"}, ["route 10.9.0.0/16 on no interface"]),
    "the default route leads everywhere else": ({"dst": "default", "dev": "eth0"}, []),
    "so does the half of the world a VPN takes": ({"dst": "128.0.0.0/1", "dev": "tun0"}, []),
    "the lab's own route": ({"dst": "198.18.77.0/24", "dev": subnet.BRIDGE}, []),
    "IPv6": ({"dst": "fe80::/64", "dev": "eth0"}, []),
})  # fmt: skip
def test_routes(route, expected):
    assert [item.what for item in subnet.occupied_by_routes([route])] == expected


DNS = [f"    ip daddr {{ 10.0.0.53 }} {protocol} dport 53 accept" for protocol in ("udp", "tcp")]


def test_the_labs_bridge_reaches_only_the_lab_and_the_hosts_resolvers_in_private_ranges():
    rules = firewall.ruleset(LAB, [IPv4Address("10.0.0.53")])
    _, _, hook, *checked, drop, _, _ = rules.splitlines()
    # Before any address translation, whose priority is -100.
    assert hook == "    type filter hook prerouting priority -150; policy accept;"
    assert checked == ['    iifname != "aicluster-lab" accept', f"    ip daddr {LAB} accept", *DNS]
    private = "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16, 100.64.0.0/10, 198.18.0.0/15"
    assert drop == f"    ip daddr {{ {private} }} counter drop"
    # Without a resolver no rule names one.
    assert "dport 53" not in firewall.ruleset(LAB, [])
