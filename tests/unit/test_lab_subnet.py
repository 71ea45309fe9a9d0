"""The lab refuses a subnet that this machine already uses, before anything is created."""

from ipaddress import IPv4Network

import pytest
from aicluster_lab import subnet
from aicluster_lab.errors import LabError
from aicluster_lab.subnet import Occupied

LAB = IPv4Network("198.18.77.0/24")


@pytest.mark.parametrize("used", [
    pytest.param("198.18.0.0/15", id="a network around it"),
    pytest.param("198.18.77.128/25", id="a network inside it"),
    pytest.param("198.18.77.53/32", id="a single address inside it"),
])  # fmt: skip
def test_a_network_that_overlaps_what_is_in_use_is_refused_with_the_files_to_edit(used):
    named = r"198\.18\.77\.0/24 overlaps .*: this; that\. .*lab/group_vars/lab\.yml.*lab/hosts\.yml"
    with pytest.raises(LabError, match=named):
        subnet.require_free(LAB, [Occupied(IPv4Network(used), what) for what in ("this", "that")])


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
