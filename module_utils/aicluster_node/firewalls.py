"""What a firewall of ours meets on the node: rules of others, the kernel, where this run comes from."""

import os
import re
import socket
import struct

from . import system

UFW = "/etc/ufw/ufw.conf"
FIREWALLD = "/etc/systemd/system/multi-user.target.wants/firewalld.service"
LEGACY_TABLES = "/proc/net/ip_tables_names"
INTERFACES = "/sys/class/net"
OURS = "inet aicluster"
# Docker's own, which drops what comes to containers past their published ports.
DOCKERS = ("ip raw", "ip6 raw")
DOCKER_BRIDGE = re.compile(r"br-[0-9a-f]{12}")
HOOK = re.compile(r"type \w+ hook (prerouting|input|ingress) .*?(?:policy (\w+);)?")
DROP = re.compile(r"(?:counter packets \d+ bytes \d+ )?(?:log .*)?(?:drop|reject\b.*)")
# Netlink: to netfilter, the generation of nf_tables, with an acknowledgement; the type of an error.
NETFILTER, GENERATION, REQUEST, ERROR = 12, 0x0A10, 5, 2


def firewalls():
    """Return {others: [rules that drop already], nf_tables: whether the kernel has them, ...}.

    `peer`, `sshd`: the address this run comes from and the port it came to, as the node sees them, or "".
    `bridges`: interfaces that our rules would take for a bridge of Docker.
    """
    session = peer()
    return {
        "others": others(),
        "nf_tables": has_nf_tables(),
        "peer": session[0],
        "sshd": session[-1],
        "bridges": sorted(
            name for name in os.listdir(INTERFACES) if name[:3] == "br-" and not DOCKER_BRIDGE.fullmatch(name)
        ),
    }


def others():
    """Return the names of the firewalls of others: ufw, firewalld, or a chain of nftables or iptables."""
    found = (
        ["ufw"] if re.search(r"^ENABLED=yes\b", system.read_text(UFW), re.MULTILINE | re.IGNORECASE) else []
    )
    listed = system.run(["nft", "list", "ruleset"])
    if os.path.lexists(FIREWALLD) or "table inet firewalld {" in listed:
        found.append("firewalld")
    if found:
        return found
    chains = dropping_chains(listed)
    if not listed or "filter" in system.read_text(LEGACY_TABLES).split():
        rules = system.run(["iptables", "-S", "INPUT"])
        if re.search(r"^-P INPUT DROP$|^-A INPUT -j (DROP|REJECT)\b", rules, re.MULTILINE):
            chains.append("chain INPUT of iptables")
    return chains


def dropping_chains(listing):
    """Return the chains in a listing of nftables that see what comes in and drop what no rule lets pass."""
    found, table, chain, hooked = [], "", "", False
    for line in (line.strip() for line in listing.splitlines()):
        if line.startswith("table "):
            table = line[6:-2]
        elif line.startswith("chain "):
            chain, hooked = line[6:-2], False
        elif line.startswith("type ") and HOOK.match(line):
            hooked = True
        last_word = hooked and (DROP.fullmatch(line) or "policy drop;" in line)
        if last_word and table != OURS and table not in DOCKERS:
            found.append("chain %s of nftables table %s" % (chain, table))
    return list(dict.fromkeys(found))


def has_nf_tables():
    """Ask the kernel, which loads the module it needs; None where nobody may ask."""
    message = struct.pack("=IHHIIBBH", 20, GENERATION, REQUEST, 1, 0, 0, 0, 0)
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as netlink:
            netlink.settimeout(5)
            netlink.send(message)
            answer = netlink.recv(4096)
    except OSError:
        return None
    kind, code = struct.unpack_from("=H", answer, 4)[0], struct.unpack_from("=i", answer, 16)[0]
    return None if kind == ERROR and code == -1 else not (kind == ERROR and code)


def peer(process="self"):
    """Return client, port, server and port of the ssh session of a process, as sshd told its first one."""
    while process not in ("0", "1", ""):
        told = system.read_text("/proc/%s/environ" % process).split("\0")
        for text in told:
            if text.startswith("SSH_CONNECTION="):
                return text.partition("=")[2].split()
        # `sudo` takes the variable from what it starts.
        status = re.search(r"^PPid:\s+(\d+)$", system.read_text("/proc/%s/status" % process), re.MULTILINE)
        process = status.group(1) if status else ""
    return [""]
