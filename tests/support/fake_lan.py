"""A LAN of network namespaces of this machine: a node with two containers, and others around it."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

SWITCH = "lan"
BRIDGE, CONTAINERS = "br-0123456789ab", {"container": "172.18.0.2", "beside": "172.18.0.3"}
GATEWAY = "172.18.0.1"
SERVICE_BRIDGE, SERVICE_GATEWAY = "aic-default", "172.16.0.1"
Place = tuple[str, int]
# Which places answer, if only that nobody listens there; a drop is silence.
KNOCK = """
import errno, json, select, socket, sys, time
asked, found, poller = {}, [], select.poll()
for host, port in json.load(sys.stdin):
    one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    one.setblocking(False)
    code = one.connect_ex((host, port))
    if code == errno.EINPROGRESS:
        asked[one.fileno()] = one, host, port
        poller.register(one, select.POLLOUT)
    elif code == errno.ECONNREFUSED:
        found.append((host, port))
end = time.monotonic() + float(sys.argv[1])
while asked and time.monotonic() < end:
    for descriptor, _ in poller.poll(100):
        poller.unregister(descriptor)
        one, host, port = asked.pop(descriptor)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED):
            found.append((host, port))
print(json.dumps(found))
"""
# Seconds after which what says nothing is silent, between namespaces and between machines.
HERE_S, SILENCE_S = "0.5", "4"
PING = """
import socket, sys
one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
one.settimeout(3)
one.sendto(bytes([8, 0, 0xF7, 0xFF, 0, 0, 0, 0]), (sys.argv[1], 0))
print(one.recvfrom(100)[1][0])
"""
# `ask` asks all machines of the LAN something, as mDNS does; `hear` says whether it hears that.
GROUP = """
import select, socket, sys
group, word, address = "224.0.0.251", sys.argv[1], socket.inet_aton(sys.argv[2])
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if word == "ask":
    one.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, address)
    one.sendto(b"who is it", (group, 5353))
else:
    one.bind((group, 5353))
    one.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + address)
    print("listens", flush=True)
    print(bool(select.select([one], [], [], 1)[0]))
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@dataclass(frozen=True)
class Lan:
    """Name -> its IPv4 address; a namespace has the name with a prefix of this process."""

    addresses: Mapping[str, str]

    def of(self, name: str) -> str:
        return f"aic{os.getpid()}-{name}"

    def ran(
        self, name: str, *command: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """A command in the place of a member."""
        inside = ["ip", "netns", "exec", self.of(name), *command]
        told = {**os.environ, **environment}
        return subprocess.run(inside, input=stdin, capture_output=True, text=True, check=False, env=told)

    def run(self, name: str, *command: str, stdin: str = "") -> str:
        """What a command prints that must not fail."""
        done = self.ran(name, *command, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def answers(self, name: str, places: Iterable[Place]) -> set[Place]:
        """Which of the places answer a member."""
        asked = json.dumps(list(places))
        return {
            (host, port)
            for host, port in json.loads(self.run(name, sys.executable, "-c", KNOCK, HERE_S, stdin=asked))
        }

    def hears(self, name: str, other: str) -> bool:
        """Whether a member hears what another one asks all."""
        command = ["ip", "netns", "exec", self.of(name), sys.executable, "-c", GROUP]
        with subprocess.Popen(
            [*command, "hear", self.addresses[name]], stdout=subprocess.PIPE, text=True
        ) as one:
            assert one.stdout and one.stdout.readline()
            self.run(other, sys.executable, "-c", GROUP, "ask", self.addresses[other])
            return one.stdout.read() == "True\n"

    def load(self, name: str, rules: str) -> None:
        self.run(name, "nft", "--file", "/dev/stdin", stdin=rules)

    def clear(self, name: str, table: str) -> None:
        self.load(name, f"table {table}\ndelete table {table}\n")

    def add(self, name: str, switch: str, bridge: str, *addresses: str) -> None:
        """A member with an interface eth0 at a bridge of another namespace."""
        ip("netns", "add", self.of(name))
        ip("-n", self.of(switch), "link", "add", name, "type", "veth", "peer", "eth0", "netns", self.of(name))
        ip("-n", self.of(switch), "link", "set", name, "up", "master", bridge)
        for device in ("lo", "eth0"):
            ip("-n", self.of(name), "link", "set", device, "up")
        for address in addresses:
            ip("-n", self.of(name), "address", "add", address, "dev", "eth0", *["nodad"] * (":" in address))

    def bridge(self, name: str, bridge: str) -> None:
        ip("-n", self.of(name), "link", "add", bridge, "type", "bridge")
        ip("-n", self.of(name), "link", "set", bridge, "up")


def require_tools() -> None:
    """Skip the test without root, nft and ip; in CI that is a failure."""
    missing = [program for program in ("nft", "ip") if not shutil.which(program)]
    if os.geteuid() or missing:
        says = f"needs root, nft and ip (apt-get install nftables iproute2); missing: {missing or 'root'}"
        pytest.fail(says) if os.environ.get("CI") else pytest.skip(says)


@contextmanager
def lan(addresses: Mapping[str, str], node: str, services: Mapping[str, str]) -> Iterator[Lan]:
    """Members with IPv4 and IPv6 addresses; `node` has bridges, as Docker makes them.

    One has two containers that are none of the toolkit's, the other those of `services`.
    """
    require_tools()
    made = Lan(addresses)
    members = [SWITCH, *addresses, *CONTAINERS, *services]
    try:
        ip("netns", "add", made.of(SWITCH))
        made.bridge(SWITCH, SWITCH)
        for name, address in addresses.items():
            made.add(name, SWITCH, SWITCH, f"{address}/24", f"{v6(address)}/64")
        made.run(node, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        bridges = ((BRIDGE, GATEWAY, CONTAINERS), (SERVICE_BRIDGE, SERVICE_GATEWAY, services))
        for bridge, gateway, containers in bridges:
            made.bridge(node, bridge)
            ip("-n", made.of(node), "address", "add", f"{gateway}/17", "dev", bridge)
            for name, address in containers.items():
                made.add(name, node, bridge, f"{address}/17")
                ip("-n", made.of(name), "route", "add", "default", "via", gateway)
        yield made
    finally:
        for name in members:
            subprocess.run(["ip", "netns", "del", made.of(name)], capture_output=True, check=False)


def v6(address: str) -> str:
    """The IPv6 address of who has an IPv4 address."""
    return f"fd00::{address.rpartition('.')[2]}"


def published(address: str, ports: Mapping[int, int]) -> str:
    """What Docker says to nftables for the ports that a container publishes: number on the node -> inside."""
    rules = "\n".join(
        f"ip daddr {address} tcp dport {port} dnat to {CONTAINERS['container']}:{inside}"
        for port, inside in ports.items()
    )
    return f"""
table ip nat {{
  chain prerouting {{ type nat hook prerouting priority -100;
{rules}
  }}
  chain postrouting {{ type nat hook postrouting priority 100; ip saddr 172.16.0.0/14 masquerade; }}
}}
"""
