"""What a lab node sends to a private network other than the lab's own is dropped."""

from ipaddress import IPv4Address, IPv4Network

from aicluster_lab import firewall

LAB = IPv4Network("198.18.77.0/24")
RULES = firewall.ruleset(LAB, [IPv4Address("10.0.0.53")])


def position(text: str) -> int:
    assert text in RULES
    return RULES.index(text)


def test_only_what_comes_from_the_labs_bridge_is_judged():
    assert position('iifname != "aicluster-lab" accept') < position("drop")


def test_the_labs_own_addresses_are_let_through_before_the_drop():
    assert position("ip daddr 198.18.77.0/24 accept") < position("drop")


def test_only_dns_is_let_through_to_the_hosts_resolvers():
    assert position("ip daddr { 10.0.0.53 } udp dport 53 accept") < position("drop")
    assert position("ip daddr { 10.0.0.53 } tcp dport 53 accept") < position("drop")
    assert RULES.count("10.0.0.53") == 2


def test_every_private_range_is_dropped_and_counted():
    drop = next(line for line in RULES.splitlines() if "counter drop" in line)
    for network in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "198.18.0.0/15",
    ):  # fmt: skip
        assert network in drop


def test_packets_are_judged_before_any_address_translation():
    priority = int(RULES.partition("hook prerouting priority ")[2].partition(";")[0])
    destination_nat = -100
    assert priority < destination_nat


def test_a_host_without_a_resolver_has_no_dns_rule():
    assert "dport 53" not in firewall.ruleset(LAB, [])


def test_the_mark_tells_one_ruleset_from_another():
    other = firewall.ruleset(IPv4Network("198.18.78.0/24"), [])
    assert firewall.rules_mark(RULES).startswith("lab ")
    assert firewall.rules_mark(RULES) != firewall.rules_mark(other)
