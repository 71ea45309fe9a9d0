"""Who gets through the firewall of a node: its rules as text, and loaded between network namespaces."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_lan
import pytest
import render
import stack_step
import tree
import yaml
from a_kit import ScriptedKit, check_of, failure_of, site
from aicluster_node import delivery, firewalls
from aicluster_verify import CheckError
from ansible.errors import AnsibleConnectionFailure
from inspected import files, inspected
from node_half import deliver, inspect
from programs import script
from tree import ROOT

from aicluster.engine.desired import Desired
from aicluster.engine.plan import make_plan
from aicluster.site.addresses import own_addresses
from aicluster.site.containers import address_of, container_reach
from aicluster.site.firewall import port_matrix, reached_ports

OPERATOR, LAN = "192.168.1.10", "192.168.1.0/24"
NODES = {node["name"]: node for node in render.cluster("production")}
SITE = {"site_operators": [OPERATOR], "site_network": LAN}
FILE = "/etc/aicluster/firewall.nft"


def rules_of(name: str, **variables: Any) -> str:
    return render.render_role("firewall", host=NODES[name]["host"], overrides=SITE | variables)[FILE]


def reached(name: str, *own: Any, operators: Any = (OPERATOR,)) -> dict[str, list[str]]:
    ports = reached_ports(list(NODES.values()), NODES[name]["host"], LAN, operators, own)
    return {f"{port['name']} {port['protocol']} {port['port']}": port["networks"] for port in ports}


GATEWAY, CONTROL, MONITORING = (NODES[name]["address"] for name in ("PI51", "PI31", "PI41"))
REACHED: dict[str, tuple[Any, ...]] = {
    "ssh, from operators and the control node": ("PI52", "sshd tcp 22", [OPERATOR, CONTROL]),
    "a port for the LAN": ("PI51", "nginx (http) tcp 80", [LAN]),
    "the same service elsewhere, for others": ("NANO", "nginx (http) tcp 80", [GATEWAY, MONITORING]),
    "a port for a tier": ("AGX0", "ollama (api) tcp 11434", [GATEWAY]),
    "a service of the host itself": ("PI31", "node_exporter (metrics) tcp 9100", [GATEWAY, MONITORING]),
    "a port for operators and a tier": ("PI41", "grafana (web) tcp 3000", [OPERATOR, GATEWAY]),
    "a port for the loopback interface": ("PI51", "kong (proxy) tcp 8000", None),
    "a port for nobody": ("PI51", "redis (redis) tcp 6379", None),
}  # fmt: skip


@pytest.mark.parametrize(("node", "port", "networks"), REACHED.values(), ids=REACHED)
def test_the_networks_that_reach(node, port, networks):
    assert reached(node).get(port) == networks


def test_ports_of_the_sites_own_programs_are_opened_to_whom_they_name():
    own = {"port": 5353, "protocol": "udp", "from": ["lan", "operators"]}
    assert reached("NANO", own)["firewall_own_ports udp 5353"] == [LAN], "networks do not overlap"
    rules = rules_of("NANO", firewall_own_ports=[own])
    assert f"    ip saddr {{ {LAN} }} udp dport 5353 accept" in rules


def test_without_operators_the_control_node_alone_reaches_ssh():
    assert reached("NANO", operators=())["sshd tcp 22"] == [CONTROL]


def test_every_node_knows_which_ports_of_the_others_answer_it():
    nodes = list(NODES.values())
    matrix = {one["node"]: one for one in port_matrix(nodes, GATEWAY, LAN, [OPERATOR], [9001])}
    assert matrix.keys() == NODES.keys() - {"PI51"}
    edge = matrix["NANO"]
    assert edge["open"] == [80, 9100]
    assert {22, 8000, 11434, 5432} <= set(edge["shut"]), "also what only others have, and the loopback's"
    assert not set(edge["shut"]) & {*edge["open"], 9001}, "a port of the site's own is neither"
    without = {name: one for name, one in NODES["NANO"]["services"].items() if name != "firewall"}
    nodes[nodes.index(NODES["NANO"])] = NODES["NANO"] | {"services": without}
    assert {one["node"] for one in port_matrix(nodes, GATEWAY, LAN, [OPERATOR]) if not one["shut"]} == {
        "NANO"
    }


def test_each_node_has_the_firewall_unless_the_site_or_the_node_turns_it_off(monkeypatch):
    assert {name for name, node in NODES.items() if "firewall" not in node["services"]} == set()
    render.choose(monkeypatch, site_firewall=False)
    listed = render.site("production").hostvars[GATEWAY]["node_common_services"]
    assert "firewall" not in listed and "node_exporter" in listed


# ---------------------------------------------------------------- loaded, in a LAN of namespaces

CHECK = check_of("firewall")
NODE = NODES["PI51"]
CONTAINERS = {
    name: address_of(name, "default", NODE["container_network"])
    for name in ("nginx", "kong", "redis", "prometheus", "grafana")
}
MEMBERS = {
    "node": NODE["address"], "operator": OPERATOR, "control": CONTROL, "named": MONITORING,
    "other": NODES["AGX0"]["address"], "foreigner": "192.168.1.99",
}  # fmt: skip
PORTS = {
    port["port"]: port
    for entry in NODE["services"].values()
    for port in entry["ports"].values()
    if port["from"]
}
AUDIENCE = {
    "operator": {"operators", "lan"}, "control": {"utility", "lan"}, "named": {"monitoring", "lan"},
    "other": {"primary_ai", "lan"}, "foreigner": {"lan"},
}  # fmt: skip
# Also ports that nothing of the toolkit has.
ASKED = sorted({22, 2375, 5432, 6379, *PORTS})


@pytest.fixture(scope="module")
def lan() -> Iterator[fake_lan.Lan]:
    contained = {number: port["container"] for number, port in PORTS.items() if number != 9100}
    with fake_lan.lan(MEMBERS, "node", CONTAINERS) as made:
        made.load("node", fake_lan.published(NODE["address"], contained))
        yield made


@pytest.fixture
def closed(lan: fake_lan.Lan) -> fake_lan.Lan:
    """The LAN with the real rules on the node."""
    lan.load("node", rules_of("PI51"))
    return lan


def asked(lan: fake_lan.Lan, member: str, host: str, ports: Any = ASKED) -> set[int]:
    return {port for _, port in lan.answers(member, [(host, port) for port in ports])}


def test_without_the_rules_everybody_reaches_everything(lan):
    lan.clear("node", "inet aicluster")
    assert asked(lan, "foreigner", NODE["address"]) == set(ASKED)
    assert asked(lan, "foreigner", fake_lan.v6(NODE["address"])) == set(ASKED)


@pytest.mark.parametrize("member", AUDIENCE)
def test_only_who_is_named_reaches_a_port(closed, member):
    expected = {number for number, port in PORTS.items() if AUDIENCE[member] & set(port["from"])}
    expected |= {22} if member in ("operator", "control") else set()
    assert asked(closed, member, NODE["address"]) == expected
    assert asked(closed, member, fake_lan.v6(NODE["address"])) == set(), "IPv6 is closed"


def test_ssh_over_ipv6_is_open_to_whom_is_declared(lan):
    lan.load("node", rules_of("PI51", firewall_ssh_ipv6=[fake_lan.v6(OPERATOR)]))
    address = fake_lan.v6(NODE["address"])
    assert (asked(lan, "operator", address), asked(lan, "foreigner", address)) == ({22}, set())


@pytest.mark.parametrize("domain", ["local", "example.org"])
def test_the_lan_may_ask_for_the_nodes_name_where_no_name_server_knows_it(lan, domain):
    lan.load("node", rules_of("PI51", site_domain=domain))
    assert lan.hears("node", "foreigner") == (domain == "local")


@pytest.mark.parametrize("member", ["foreigner", "operator", "named"])
def test_nobody_outside_reaches_a_container_past_its_published_port(closed, member):
    container = fake_lan.CONTAINERS["container"]
    route = [container, "via", NODE["address"]]
    fake_lan.ip("-n", closed.of(member), "route", "replace", *route)
    assert asked(closed, member, container, [80, 8000, 9090]) == set()
    closed.clear("node", "inet aicluster")
    assert asked(closed, member, container, [80]) == {80}, "the rules kept it"


def test_a_node_its_containers_and_the_answers_to_both_pass(closed):
    assert asked(closed, "node", NODE["address"], [22, 9100]) == {22, 9100}
    assert asked(closed, "node", "127.0.0.1", [22, 8000]) == {22, 8000}
    assert asked(closed, "node", MEMBERS["foreigner"], [22, 80]) == {22, 80}
    assert asked(closed, "beside", fake_lan.CONTAINERS["container"], [80]) == {80}
    assert asked(closed, "beside", NODE["address"], [80, 9100]) == {80, 9100}, "published, and the host's own"
    fake_lan.ip("-n", closed.of("node"), "route", "replace", "default", "via", MEMBERS["foreigner"])
    assert asked(closed, "beside", MEMBERS["foreigner"], [22]) == {22}


def test_everybody_may_ping_the_node(closed):
    answer = closed.run("foreigner", "python3", "-c", fake_lan.PING, NODE["address"])
    assert answer.strip() == NODE["address"]


def test_what_is_loaded_is_listed_as_the_file_is(closed):
    listing = CHECK.LISTING
    file = rules_of("PI51")
    fresh = closed.run(
        "node", "unshare", "--net", "sh", "-c", f"nft --file /dev/stdin && {listing}", stdin=file
    )
    asked(closed, "foreigner", NODE["address"])
    assert fresh == closed.run("node", "sh", "-c", listing)
    assert fresh.count("accept") == file.count(" accept") > 10


# ---------------------------------------------------------------- inside a node

# Port of a container -> which others on its node reach it there.
ASKERS = {
    "alertmanager.web": "grafana prometheus", "backup_store.rest": "backup",
    "blackbox_exporter.web": "prometheus", "comfyui.ui": "nginx", "grafana.web": "nginx",
    "jupyterhub.hub": "nginx", "kong.proxy": "nginx", "kong.status": "nginx prometheus", "minio.api": "",
    "minio.console": "", "model_mirror.registry": "ollama", "nginx.http": "jupyterhub kong",
    "nginx.https": "jupyterhub kong", "ollama.api": "nginx", "pgadmin.web": "",
    "postgres.sql": "pgadmin postgres_exporter postgrest", "postgres_exporter.metrics": "",
    "postgrest.admin": "", "postgrest.api": "", "prometheus.web": "grafana nginx",
    "redis.local": "kong redis_commander redis_exporter",
    "redis.redis": "kong redis_commander redis_exporter", "redis_commander.web": "",
    "redis_exporter.metrics": "prometheus", "sonarqube.web": "", "victorialogs.api": "prometheus",
}  # fmt: skip


def reach(name: str) -> dict[str, dict[str, Any]]:
    found = container_reach(list(NODES.values()), NODES[name]["host"], "192.168.1.1")
    return {one["service"]: one for one in found}


def test_no_port_of_a_container_is_open_to_others_but_by_declaration():
    found: dict[str, set[str]] = {}
    for name, node in NODES.items():
        told = reach(name)
        for service, one in told.items():
            for port_name, port in node["services"][service]["ports"].items():
                askers = found.setdefault(f"{service}.{port_name}", set())
                places = {(address, port["container"]) for address in one["addresses"]}
                askers |= {
                    other
                    for other, its in told.items()
                    if places & {(to, number) for _, to, number in its["beside"]}
                }
    assert {port: " ".join(sorted(askers)) for port, askers in found.items()} == ASKERS


def test_kong_reaches_every_target_of_its_upstreams():
    told = yaml.safe_load(render.render_role("kong")["/opt/aicluster/kong/secrets/kong.yml"])
    targets = {target["target"] for upstream in told["upstreams"] for target in upstream["targets"]}
    assert targets <= {f"{address}:{port}" for address, port in reach("PI51")["kong"]["beyond"]}


def test_what_containers_reach_outside_is_declared():
    outside = {
        service: one["outside"] for name in NODES for service, one in reach(name).items() if one["outside"]
    }
    assert outside == {
        "alertmanager": ["lan", "internet"], "jupyterhub": ["internet"], "ollama": ["internet"]}  # fmt: skip


@pytest.mark.parametrize("network", ["default", "jupyterhub"])
def test_no_two_services_have_one_address(network):
    members = list(tree.catalogue()) if network == "default" else [network, "nginx"]
    assert len({address_of(service, network, "172.16.0.0/16") for service in members}) == len(members)


@pytest.mark.parametrize("name", NODES)
def test_the_kernel_takes_the_rules_of_every_node(lan, name):
    lan.run("node", "unshare", "--net", "nft", "--file", "/dev/stdin", stdin=rules_of(name))


AGX0, OWN, STRANGER = MEMBERS["other"], NODE["address"], MEMBERS["foreigner"]
BY_CONTAINERS: dict[str, tuple[str, str, dict[int, bool]]] = {
    "a needed service beside": ("kong", CONTAINERS["redis"], {6379: True, 6381: False}),
    "the other way round": ("redis", CONTAINERS["kong"], {8000: False, 8100: False}),
    "who is needed by the same": ("grafana", CONTAINERS["nginx"], {80: False}),
    "an admin interface": ("nginx", CONTAINERS["kong"], {8000: True, 8100: True, 8001: False}),
    "metrics": ("prometheus", CONTAINERS["kong"], {8100: True, 8000: False}),
    "a needed service elsewhere": ("kong", AGX0, {11434: True, 22: False, 8000: False}),
    "the same, not needed": ("redis", AGX0, {11434: False, 22: False}),
    "the node's own services": ("prometheus", OWN, {9100: True, 22: False}),
    "those, not needed": ("redis", OWN, {9100: False, 22: False, 80: False}),
    "the node at its bridge": ("prometheus", fake_lan.SERVICE_GATEWAY, {9100: False, 22: False}),
    "a machine of the LAN": ("kong", STRANGER, {80: False, 443: False}),
    "a name server": ("redis", STRANGER, {53: True}),
}  # fmt: skip


@pytest.mark.parametrize("with_br_netfilter", ["0", "1"])
@pytest.mark.parametrize(("member", "host", "ports"), BY_CONTAINERS.values(), ids=BY_CONTAINERS)
def test_a_container_reaches(closed, member, host, ports, with_br_netfilter):
    switch = f"echo {with_br_netfilter} > /proc/sys/net/bridge/bridge-nf-call-iptables"
    closed.ran("node", "sh", "-c", switch)  # Not there without the module, which is as good as 0.
    assert asked(closed, member, host, ports) == {port for port, answers in ports.items() if answers}


@pytest.mark.parametrize(("words", "lan_answers", "internet_answers"), [
    ([], False, False), (["lan"], True, False), (["internet"], False, True),
])  # fmt: skip
def test_a_container_that_declares_it_reaches_outside(lan, words, lan_answers, internet_answers):
    lan.load("node", rules_of("PI51", service_overrides={"redis": {"reaches": words}}))
    internet, another_network = "203.0.113.9", "172.16.159.9"
    for address in (internet, another_network):
        fake_lan.ip("-n", lan.of("foreigner"), "address", "replace", f"{address}/32", "dev", "eth0")
        fake_lan.ip("-n", lan.of("node"), "route", "replace", address, "via", STRANGER)
    assert bool(asked(lan, "redis", STRANGER, [80])) == lan_answers
    assert bool(asked(lan, "redis", internet, [443])) == internet_answers
    assert asked(lan, "redis", another_network, [443]) == set()
    assert asked(lan, "redis", OWN, [22, 2375]) == set(), "nodes are neither"
    assert asked(lan, "redis", AGX0, [22, 11434, 2375]) == ({2375} if words == ["lan"] else set())


# ---------------------------------------------------------------- on trial

PROGRAM = "roles/firewall/templates/opt/aicluster/bin/aicluster_firewall.py"
# The program with its files in a folder, on the node of the LAN; what it asks of systemd is written down.
STEPS = """
import sys
from by_path import import_file
program, folder = import_file(sys.argv[1], "on_trial"), sys.argv[2]
program.DELIVERED, program.KEPT, program.FORMER = folder + "/new", folder + "/kept", folder + "/former"
for step in sys.argv[3:]:
    getattr(program, step)()
"""
TABLES = ("inet aicluster", "bridge aicluster")
REPLACES = "".join(f"table {table}\ndelete table {table}\n" for table in TABLES)
RULES = "".join(
    f"table {table} {{\n\tchain reach {{\n\t\ttcp dport PORT accept\n\t}}\n}}\n" for table in TABLES
)
OLD, NEW, BROKEN = RULES.replace("PORT", "22"), RULES.replace("PORT", "23"), "no rules"
ROLLBACK = "aicluster-firewall-rollback"
TIMER = f"systemd-run --quiet --collect --on-active=50 --timer-property=AccuracySec=1s --unit {ROLLBACK}"


class Trial:
    """A node with old rules, and new ones delivered."""

    def __init__(self, lan: fake_lan.Lan, folder: Path) -> None:
        self.lan, self.folder = lan, folder
        for name in ("systemctl", "systemd-run"):
            script(folder / "bin" / name, f'echo "{name} $*" >> {folder}/calls')
        lan.load("node", REPLACES + OLD)
        self.deliver(NEW)

    def deliver(self, rules: str) -> None:
        (self.folder / "new").write_text(REPLACES + rules)

    def steps(self, *names: str) -> int:
        path = os.pathsep.join([f"{self.folder}/bin", os.environ["PATH"]])
        told = {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", STEPS, PROGRAM, str(self.folder), *names]
        return self.lan.ran("node", *command, **told).returncode

    @property
    def loaded(self) -> str:
        return "".join(
            self.lan.ran("node", "nft", "list", "table", *table.split()).stdout for table in TABLES
        )

    @property
    def kept(self) -> str:
        return (self.folder / "kept").read_text() if (self.folder / "kept").exists() else ""

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def trial(lan, tmp_path) -> Trial:
    return Trial(lan, tmp_path)


def test_new_rules_are_loaded_with_a_timer_that_takes_them_back(trial):
    trial.steps("begin")
    assert (trial.loaded, trial.kept) == (NEW, "")
    assert trial.calls == [
        f"systemctl stop {ROLLBACK}.timer", f"{TIMER} {ROOT / PROGRAM} back",
    ]  # fmt: skip


def test_rules_that_nobody_confirms_give_way_to_the_former_ones(trial):
    trial.steps("begin", "back")
    assert (trial.loaded, trial.kept) == (OLD, "")
    assert trial.steps("confirm") == 1, "too late"
    assert (trial.loaded, trial.kept) == (OLD, "")


def test_the_first_rules_of_a_node_give_way_to_none(trial):
    for table in TABLES:
        trial.lan.clear("node", table)
    trial.steps("begin")
    assert trial.loaded == NEW
    trial.steps("back")
    assert trial.loaded == ""


def test_confirmed_rules_stay_and_are_those_of_the_next_boot(trial):
    trial.steps("begin", "confirm")
    assert (trial.loaded, trial.kept) == (NEW, REPLACES + NEW)
    assert trial.calls[2:] == [
        f"systemctl stop {ROLLBACK}.timer", "systemctl start aicluster-firewall",
    ]  # fmt: skip
    assert trial.steps("confirm") == 1, "a trial is confirmed once"


def test_a_second_trial_within_the_first_goes_back_to_the_rules_before_both(trial):
    trial.steps("begin")
    trial.deliver(RULES.replace("PORT", "24"))
    trial.steps("begin", "back")
    assert trial.loaded == OLD


def test_rules_that_do_not_load_leave_the_former_ones(trial):
    trial.deliver(BROKEN)
    assert trial.steps("begin") == 1
    assert trial.loaded == OLD
    assert trial.calls[-1].startswith(TIMER), "which loads them once more"


# ---------------------------------------------------------------- the run confirms

ON_TRIAL = {"reactions": [["trial", "/a/program"], ["restart", "x"]]}


class Run(stack_step.ActionModule):
    """The step `handled` of a run: what its node is asked, and when it opens a new connection."""

    def __init__(self, part: Any, **answers: Any) -> None:
        self.did: list[Any] = []
        self.answers = answers
        self._task_vars = {"node_name": "PI51"}
        self._connection = SimpleNamespace(reset=lambda: self.did.append("new connection"))
        self.options = {"plan": {"prepare": part}, "part": "prepare"}

    def change(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.did.append((request["verb"], request["trials"]))
        answer: dict[str, Any] | Exception = self.answers.get(request["verb"], {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def handled(self) -> dict[str, Any]:
        return self._handled(self.options)


def test_what_is_taken_on_trial_is_confirmed_over_a_new_connection():
    run = Run(ON_TRIAL)
    run.handled()
    assert run.did == [("begin", ["/a/program"]), "new connection", ("handled", ["/a/program"])]


def test_a_trial_that_does_not_begin_is_not_confirmed():
    run = Run(ON_TRIAL, begin={"failed": True, "msg": "no"})
    assert run.handled() == {"failed": True, "msg": "no"}
    assert run.did == [("begin", ["/a/program"])]


def test_a_run_that_locked_itself_out_says_so():
    said = Run(ON_TRIAL, handled=AnsibleConnectionFailure("Connection timed out")).handled()
    assert said["failed"]
    assert said["msg"].startswith("new connection to PI51 with its new firewall: Connection timed out: must")


@pytest.mark.parametrize(("changes", "units", "reactions"), [
    pytest.param(files("content", FILE, "/etc/other"), ["docker"], [["restart", "docker"], ["trial", "/p"]],
        id="after all restarts"),
    pytest.param({"pending": [["trial", "/p"]]}, [], [["trial", "/p"]], id="again, after one that failed"),
    pytest.param(files("content", "/etc/other"), ["docker"], [["restart", "docker"]], id="not for others"),
])  # fmt: skip
def test_a_changed_file_is_taken_on_trial(changes, units, reactions):
    rules = {FILE: {"trial": "/p"}, "/etc/other": {"restart": "docker"}}
    prepare = make_plan(Desired(rules=rules), inspected(**changes), {})["prepare"]
    assert [unit["name"] for unit in prepare["units"]] == units
    assert prepare["reactions"] == reactions


def test_a_node_takes_on_trial_confirms_and_remembers_what_was_not(own_node):
    said = script(
        own_node / "program", f'echo "$1" >> {own_node}/said; test ! -e {own_node}/too-late || exit 3'
    )
    deliver({own_node / "stack" / "conf": b"x"}, reactions=[["trial", said]])
    assert delivery.begin({"trials": [said]}) == {"changed": True}
    (own_node / "too-late").touch()
    refused = delivery.handled({"trials": [said], "reactions": [["trial", said]]})
    assert refused == {"failed": True, "msg": f"`{said} confirm` failed (rc 3): "}
    assert delivery.begin({"trials": [said]})["failed"]
    assert inspect()["pending"] == [["trial", said]]
    (own_node / "too-late").unlink()
    delivery.handled({"trials": [said], "reactions": [["trial", said]]})
    assert inspect()["pending"] == []
    assert (own_node / "said").read_text().split() == ["try", "confirm", "try", "confirm"]


# ---------------------------------------------------------------- what is there before


LISTED = """
table ip filter {
	chain DOCKER-USER {
		drop
	}
	chain INPUT {
		type filter hook input priority filter; policy %s;
		counter packets 2 bytes 80 jump f2b
	}
	chain FORWARD {
		type filter hook forward priority filter; policy drop;
	}
}
table ip raw {
	chain PREROUTING {
		type filter hook prerouting priority raw; policy accept;
		ip daddr 172.18.0.2 iifname != "br-0123456789ab" counter packets 0 bytes 0 drop
	}
}
table inet mine {
	chain in {
		type filter hook prerouting priority -300
		tcp dport 22 accept
		%s
	}
}
table inet aicluster {
	chain reach {
		type filter hook prerouting priority mangle; policy drop;
	}
}
"""
INPUT, MINE = "chain INPUT of nftables table ip filter", "chain in of nftables table inet mine"
OTHERS: dict[str, tuple[Any, ...]] = {
    "Docker's rules, ours, and a ban of single addresses": (("accept", "ip saddr @banned drop"), []),
    "a chain whose policy is to drop": (("drop", "accept"), [INPUT]),
    "a chain whose last word is to drop": (("accept", "drop"), [MINE]),
    "one that counts and rejects": (
        ("accept", "counter packets 5 bytes 300 reject with icmpx port-unreachable"), [MINE]),
    "one that logs before": (("accept", 'log prefix "no: " drop'), [MINE]),
    "both": (("drop", "drop"), [INPUT, MINE]),
}  # fmt: skip


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A node without a firewall of others, whose programs are scripts."""
    for constant in ("UFW", "FIREWALLD", "LEGACY_TABLES"):
        monkeypatch.setattr(firewalls, constant, str(tmp_path / constant))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin{os.pathsep}{os.environ['PATH']}")
    script(tmp_path / "bin/nft", f"cat {tmp_path}/listed")
    script(tmp_path / "bin/iptables", f"cat {tmp_path}/input")
    (tmp_path / "listed").write_text(LISTED % ("accept", "accept"))
    return tmp_path


@pytest.mark.parametrize(("words", "found"), OTHERS.values(), ids=OTHERS)
def test_rules_of_nftables_that_drop_already(elsewhere, words, found):
    (elsewhere / "listed").write_text(LISTED % words)
    assert firewalls.others() == found


@pytest.mark.parametrize(("file", "text", "found"), [
    pytest.param("UFW", "# x\nENABLED=yes\n", ["ufw"], id="ufw is on"),
    pytest.param("UFW", "ENABLED=no\n", [], id="ufw is installed and off"),
    pytest.param("FIREWALLD", "", ["firewalld"], id="firewalld starts at boot"),
    pytest.param("listed", "table inet firewalld {\n}\n", ["firewalld"], id="firewalld runs"),
])  # fmt: skip
def test_firewalls_that_distributions_have(elsewhere, file, text, found):
    (elsewhere / file).write_text(text)
    assert firewalls.others() == found


@pytest.mark.parametrize(("tables", "rules", "found"), [
    pytest.param("filter\nnat\n", "-P INPUT DROP", ["chain INPUT of iptables"], id="a policy"),
    pytest.param("filter\n", "-P INPUT ACCEPT\n-A INPUT -j REJECT --reject-with icmp-port-unreachable",
        ["chain INPUT of iptables"], id="a last word"),
    pytest.param("filter\n", "-P INPUT ACCEPT\n-A INPUT -s 1.1.1.1/32 -j DROP", [], id="a ban"),
    pytest.param("", "-P INPUT DROP", [], id="none in the kernel: nftables lists what there is"),
])  # fmt: skip
def test_rules_of_the_iptables_of_old(elsewhere, tables, rules, found):
    (elsewhere / "LEGACY_TABLES").write_text(tables)
    (elsewhere / "input").write_text(rules)
    assert firewalls.others() == found


def test_a_run_comes_from_where_sshd_says_though_sudo_hides_it():
    hidden = "import os; from aicluster_node import firewalls; print(firewalls.peer())"
    run = f"subprocess.run([sys.executable, '-c', {hidden!r}], env={{'PYTHONPATH': sys.argv[1]}})"
    outer = f"import subprocess, sys; {run}"
    told = {"SSH_CONNECTION": "192.0.2.7 5000 192.0.2.1 22"}
    command = [sys.executable, "-c", outer, os.pathsep.join(sys.path)]
    said = subprocess.run(command, env=told, capture_output=True, text=True, check=True).stdout
    assert said == f"{told['SSH_CONNECTION'].split()}\n"


@pytest.mark.usefixtures("lan")
def test_the_kernel_is_asked_for_nftables(elsewhere, monkeypatch):
    assert firewalls.has_nf_tables() is True
    monkeypatch.setattr(firewalls, "INTERFACES", str(elsewhere))
    for name in ("br-lan", "br-0123456789ab", "eth0"):
        (elsewhere / name).mkdir()
    found = firewalls.firewalls()
    assert (found["bridges"], found["others"]) == (["br-lan"], [])


# ---------------------------------------------------------------- verify

LISTS = "sh -c nft --stateless*"


@pytest.fixture
def node_of_check(tmp_path, monkeypatch) -> Any:
    """A node whose rules are loaded, and another one, which answers on some ports."""
    for constant, text in {"RULES": "r", "KEPT": "r", "MATRIX": json.dumps(
        [{"node": "PI52", "address": "10.0.0.2", "open": [80, 443], "shut": [22]}]),
        "CONTAINERS": json.dumps([
            {"service": name, "addresses": [address], "beside": beside, "shut": [["10.0.0.2", 22]]}
            for name, address, beside in (("kong", "172.16.0.5", [["172.16.0.5", "172.16.0.6", 6379]]),
                ("redis", "172.16.0.6", []), ("grafana", "172.16.0.7", []))])}.items():  # fmt: skip
        (tmp_path / constant).write_text(text)
        monkeypatch.setattr(CHECK, constant, str(tmp_path / constant))

    def answers(*ports: int, reached: Any = (), **said: Any) -> Any:
        monkeypatch.setattr(CHECK, "answering", lambda _places: {("10.0.0.2", port) for port in ports})
        monkeypatch.setattr(CHECK, "listening", lambda pid: {"5": {8000, 8001}, "6": {6379}}[pid])
        monkeypatch.setattr(CHECK, "answering_to", lambda _pid, places: set(reached) & set(places))
        runs = {"sh -c docker ps*": "5 kong\n6 redis\n"}
        return ScriptedKit(
            site("PI51", {"firewall": {}}), commands={"unshare*": "rules", LISTS: "rules", **runs, **said}
        )

    return answers


def test_verify_says_how_many_ports_it_tried(node_of_check):
    assert CHECK.check(node_of_check(80, 443)).endswith(
        # Kong may ask Redis and not the other node, Redis neither that nor two ports of Kong.
        "3 ports of 1 nodes answer or are closed as declared, 4 for containers"
    )
    assert "3 ports" in CHECK.check(node_of_check()), "a node without power is for its own services to tell"


WRONG: dict[str, tuple[Any, ...]] = {
    "rules that are gone": ((80, 443), {LISTS: CheckError("No such file")}, "rules are not loaded: No such"),
    "rules of somebody else": ((80, 443), {LISTS: "others"}, "the rules that are loaded are not those of "),
    "a port that is open": ((80, 443, 22), {}, "as services declare: PI52:22 answers"),
    "a port that is shut": ((80,), {}, "as services declare: PI52:443 is silent"),
}  # fmt: skip


@pytest.mark.parametrize(("ports", "said", "evidence"), WRONG.values(), ids=WRONG)
def test_verify_names(node_of_check, ports, said, evidence):
    assert evidence in failure_of(CHECK.check, node_of_check(*ports, **said)).evidence


def test_verify_has_nobody_load_rules_that_were_not_confirmed(node_of_check, tmp_path):
    (tmp_path / "KEPT").write_text("of before")
    former = failure_of(CHECK.check, node_of_check(80, 443, **{LISTS: "of before"}))
    assert "no run has confirmed" in former.evidence and "site.yml" in former.next_command


def test_verify_names_what_a_container_reaches_and_shall_not(node_of_check):
    reached = {("172.16.0.6", 6379), ("172.16.0.5", 8001), ("10.0.0.2", 22)}
    said = failure_of(CHECK.check, node_of_check(80, 443, reached=reached)).evidence
    assert said == (
        "containers reach what no `needs` or `reaches` names: kong reaches 10.0.0.2:22; "
        "redis reaches 10.0.0.2:22; redis reaches 172.16.0.5:8001"
    )


def test_a_container_is_asked_on_the_ports_that_others_could_use():
    with socket.create_server(("0.0.0.0", 0)) as for_all, socket.create_server(("127.0.0.1", 0)) as own:
        found = CHECK.listening("self")
        assert for_all.getsockname()[1] in found and own.getsockname()[1] not in found


def test_what_a_container_reaches_is_tried_in_its_network(closed):
    inside = ["ip", "netns", "exec", closed.of("kong"), "sleep", "60"]
    with subprocess.Popen(inside) as process, ThreadPoolExecutor(1) as thread:
        while Path(f"/proc/{process.pid}/comm").read_text() != "sleep\n":
            time.sleep(0.01)
        places = [(CONTAINERS["redis"], 6379), (CONTAINERS["redis"], 80)]
        assert thread.submit(CHECK.answering_to, str(process.pid), places).result() == set(places[:1])
        process.kill()


def test_a_port_answers_also_if_nobody_listens_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        places = {("127.0.0.1", server.getsockname()[1]), ("127.0.0.1", 1)}
        # Of this machine's own networks none has the last address.
        assert CHECK.answering([*places, ("127.255.255.254", 0)]) >= places


@pytest.mark.parametrize(("network", "found"), [
    pytest.param("127.0.0.0/8", ["127.0.0.1"], id="in its own network"),
    pytest.param("203.0.113.0/24", [], id="in no other"),
])  # fmt: skip
def test_the_address_of_this_machine(network, found):
    assert own_addresses(network) == found
