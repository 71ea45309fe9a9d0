"""What node_exporter is told: the node's own address, what to collect, and a metric of ours."""

import configparser
import re
import shlex
from typing import Any

import pytest
import render

FLAGS = "/etc/default/prometheus-node-exporter"
UNIT = "/etc/systemd/system/prometheus-node-exporter.service"
NODES = [
    (inventory, host)
    for inventory in sorted(render.SOURCES)
    for host in render.hosts_running("node_exporter", inventory)
]
NANO = "192.168.1.159"
every_node = pytest.mark.parametrize(("inventory", "host"), NODES)


def flags(**where: Any) -> list[str]:
    """As systemd reads them: quotes and backslashes of the file first, then of $ARGS on the command line."""
    text = render.render_role("node_exporter", **where)[FLAGS]
    [line] = [line for line in text.splitlines() if line.startswith("ARGS=")]
    [value] = shlex.split(line.removeprefix("ARGS="))
    return value.split(" ")


def flag(name: str, **where: Any) -> str:
    [value] = [one.partition("=")[2] for one in flags(**where) if one.startswith(f"--{name}=")]
    return value


@every_node
def test_an_orin_is_not_asked_for_thermal_zones_which_would_hang_it(inventory, host):
    [board] = [node["board"] for node in render.cluster(inventory) if node["host"] == host]
    orin = "Orin" in board
    assert ("--collector.thermal_zone" in flags(inventory=inventory, host=host)) is not orin


MEASURED: dict[str, tuple[str, list[str]]] = {
    "collector.filesystem.mount-points-exclude": ("/ /boot/firmware /var/lib/docker",
        ["/var/lib/docker/overlay2/x/merged", "/run/user/1000"]),
    "collector.netdev.device-exclude": ("eth0 wlan0", ["veth12ab", "br-1"]),
    "collector.netclass.ignored-devices": ("eth0 wlan0", ["veth12ab", "br-1"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "measured", "left_out"), [(name, *row) for name, row in MEASURED.items()])
def test_disks_and_interfaces_are_measured_and_those_of_containers_are_not(name, measured, left_out):
    pattern = re.compile(flag(name))
    assert [one for one in [*measured.split(), *left_out] if pattern.search(one)] == left_out


def state(host: str) -> dict[str, Any]:
    rendering = render.renderer("production", host)
    extra = {"service": rendering.shared["cluster_node"]["services"]["node_exporter"]}
    found: dict[str, Any] = rendering.state("node_exporter", rendering.variables("node_exporter", extra))
    return found


def test_the_edge_node_gets_a_unit_for_the_program_that_was_put_there():
    assert state(NANO)["packages"] == []
    unit = configparser.ConfigParser()
    unit.read_string(render.render_role("node_exporter", host=NANO)[UNIT])
    assert unit["Service"]["ExecStart"] == "/usr/local/bin/node_exporter $ARGS"
    assert unit["Service"]["EnvironmentFile"] == FLAGS
