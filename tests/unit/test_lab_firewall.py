"""What a lab node sends to a private network other than the lab's own is dropped."""

from ipaddress import IPv4Address, IPv4Network

from aicluster_lab import firewall

LAB = IPv4Network("198.18.77.0/24")
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
