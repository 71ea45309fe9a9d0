"""The lab refuses a subnet that this machine already uses, before anything is created."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from aicluster_lab import subnet
from aicluster_lab.errors import LabError
from aicluster_lab.subnet import Occupied

LAB = IPv4Network("198.18.77.0/24")


@pytest.mark.parametrize(("used", "refused"), [
    pytest.param("192.0.2.0/24", False, id="a network elsewhere does not matter"),
    pytest.param("198.18.76.0/24", False, id="a neighbour does not matter"),
    pytest.param("198.18.0.0/15", True, id="a network around it is refused"),
    pytest.param("198.18.77.128/25", True, id="a network inside it is refused"),
    pytest.param("198.18.77.53/32", True, id="a single address inside it is refused"),
])  # fmt: skip
def test_overlap(used, refused):
    assert subnet.overlapping(LAB, [Occupied(IPv4Network(used), "it")]) == (["it"] if refused else [])


def test_the_refusal_names_every_overlap_and_the_files_to_edit():
    used = [
        Occupied(IPv4Network("198.18.0.0/15"), "route 198.18.0.0/15 on tun0"),
        Occupied(IPv4Network("198.18.77.53"), "resolver 198.18.77.53"),
    ]
    with pytest.raises(LabError) as error:
        subnet.require_free(LAB, used)
    for text in (
        "198.18.77.0/24",
        "tun0",
        "resolver 198.18.77.53",
        "lab/group_vars/lab.yml",
        "lab/hosts.yml",
    ):
        assert text in str(error.value)


@pytest.mark.parametrize(("route", "expected"), [
    pytest.param({"dst": "10.1.0.0/16", "dev": "eth0"}, ["route 10.1.0.0/16 on eth0"], id="a network"),
    pytest.param({"dst": "10.1.2.3", "dev": "wg0"}, ["route 10.1.2.3/32 on wg0"], id="a single host"),
    pytest.param({"dst": "10.9.0.0/16", "type": "blackhole"}, ["route 10.9.0.0/16 on no interface"],
        id="a hole"),
    pytest.param({"dst": "default", "dev": "eth0"}, [], id="the default route leads everywhere else"),
    pytest.param({"dst": "128.0.0.0/1", "dev": "tun0"}, [], id="so does the half of the world a VPN takes"),
    pytest.param({"dst": "198.18.77.0/24", "dev": subnet.BRIDGE}, [], id="the lab's own route"),
    pytest.param({"dst": "fe80::/64", "dev": "eth0"}, [], id="IPv6"),
])  # fmt: skip
def test_routes(route, expected):
    assert [item.what for item in subnet.occupied_by_routes([route])] == expected


def test_addresses_count_with_their_network_except_on_the_labs_bridge():
    def interface(name, address):
        info = {"family": "inet", "local": address, "prefixlen": 24}
        return {"ifname": name, "addr_info": [info, {"family": "inet6", "local": "::1", "prefixlen": 128}]}

    found = subnet.occupied_by_addresses(
        [interface("eth0", "10.0.0.7"), interface(subnet.BRIDGE, "198.18.77.1")]
    )
    assert found == [Occupied(IPv4Network("10.0.0.0/24"), "address 10.0.0.7 of eth0")]


def test_resolvers_are_the_ipv4_name_servers_beyond_loopback_each_once():
    texts = [
        "search home\nnameserver 127.0.0.53\nnameserver 10.0.0.1\n",
        "nameserver 10.0.0.1\nnameserver fd00::1\n",
    ]
    assert subnet.resolvers(texts) == [IPv4Address("10.0.0.1")]
