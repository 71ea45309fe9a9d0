"""What a lab node may not reach: any private network but the lab's own.

A wrong address in a template must end here, not at somebody's real machine. The rules are one nftables
table of the lab's own, set in the engine's network by a short-lived container: nothing has to be installed,
no rule of Docker or of the machine is touched, and removing the table removes everything.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network

from docker.errors import ImageNotFound

from .containers import Containers
from .errors import LabError
from .images import NODE
from .subnet import BRIDGE

TABLE = "aicluster_lab"
THERE = f"nft list tables ip | grep -qx 'table ip {TABLE}'"
FORBIDDEN = (
    "10.0.0.0/8",  # RFC 1918: private
    "172.16.0.0/12",
    "192.168.0.0/16",
    "169.254.0.0/16",  # RFC 3927: link-local, cloud metadata
    "100.64.0.0/10",  # RFC 6598: carrier-grade NAT, overlay networks
    "198.18.0.0/15",  # RFC 2544: benchmarking
)


def ruleset(subnet: IPv4Network, resolvers: Iterable[IPv4Address]) -> str:
    """Write the nftables rules: what comes from the lab's bridge reaches forbidden ranges only in the lab.

    DNS to `resolvers` is the exception. The hook is prerouting, before any address translation: it sees
    packets to other machines and to this one.
    """
    dns = ", ".join(str(address) for address in sorted(resolvers))
    lines = [f'iifname != "{BRIDGE}" accept', f"ip daddr {subnet} accept"]
    if dns:
        lines += [f"ip daddr {{ {dns} }} {protocol} dport 53 accept" for protocol in ("udp", "tcp")]
    lines.append(f"ip daddr {{ {', '.join(FORBIDDEN)} }} counter drop")
    rules = "\n    ".join(lines)
    return (
        f"table ip {TABLE} {{\n  chain lab_only {{\n"
        "    type filter hook prerouting priority -150; policy accept;\n"
        f"    {rules}\n  }}\n}}\n"
    )


def apply(containers: Containers, subnet: IPv4Network, resolvers: Iterable[IPv4Address]) -> None:
    """Put the rules in the place of any earlier ones, in one transaction."""
    rules = f"table ip {TABLE}\ndelete table ip {TABLE}\n{ruleset(subnet, resolvers)}"
    _run(containers, ["sh", "-c", 'printf %s "$1" | nft -f -', "sh", rules])


def remove(containers: Containers) -> None:
    """Remove the rules, if they are there."""
    _run(containers, ["sh", "-c", f"if {THERE}; then nft delete table ip {TABLE}; fi"])


def dropped_packets(containers: Containers) -> int:
    """How many packets the rules have dropped since they were set; -1 if they are not set."""
    words = _run(containers, ["sh", "-c", f"if {THERE}; then nft list table ip {TABLE}; fi"]).split()
    return int(words[words.index("packets") + 1]) if "packets" in words else -1


def _run(containers: Containers, command: list[str]) -> str:
    try:
        return containers.run_tool(NODE, command)
    except ImageNotFound:
        return ""  # no node image: no node, and no rules, were ever made
    except LabError as error:
        raise LabError(
            f"The rules that keep the nodes inside the lab cannot be set, so no node is started. {error} "
            "The kernel needs nf_tables."
        ) from None
