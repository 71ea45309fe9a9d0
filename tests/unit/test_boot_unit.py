"""The unit that brings a node's services up at boot, whatever Docker remembers of them."""

import configparser
from typing import Any

import pytest
import render

PATH = "/etc/systemd/system/aicluster-stack.service"
NODES = [(node["host"], node) for node in render.cluster("production")]


def units_of(host: str) -> list[dict[str, Any]]:
    rendering = render.renderer("production", host)
    node = rendering.shared["cluster_node"]
    contained = [name for name, entry in node["services"].items() if entry["image"]]
    state = rendering.state("stack", rendering.variables("stack", {"stack_services": contained}))
    found: list[dict[str, Any]] = state["units"]
    return found


every_node = pytest.mark.parametrize(("host", "node"), NODES, ids=[node["name"] for _, node in NODES])


@every_node
def test_it_is_on_the_nodes_with_containers_enabled_and_not_started(host, node):
    contained = any(entry["image"] for entry in node["services"].values())
    assert (PATH in render.render_role("stack", host=host)) is contained
    assert units_of(host) == ([{"name": "aicluster-stack", "enabled": True, "boot": True}] * contained)


def test_a_restart_of_the_engine_does_not_touch_it_and_any_systemd_takes_it():
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(render.render_role("stack", host=render.hosts_running("postgres")[0])[PATH])
    assert (unit["Unit"]["wants"], unit["Unit"]["after"]) == ("docker.service", "docker.service")
    assert not {"requires", "bindsto", "partof"} & set(unit["Unit"])
    # That of JetPack 4 (237) starts no `oneshot` again and knows no `exec`.
    assert "type" not in unit["Service"]


@every_node
def test_where_profiles_are_what_belongs_to_another_one_is_stopped_first(host, node):
    text = render.render_role("stack", host=host).get(PATH, "")
    settles = "ExecStartPre=/opt/aicluster/bin/aicluster_profile.py settle" in text
    assert settles is bool(node["profiles"])


def test_an_address_that_comes_after_docker_stops_no_container():
    others = {"net.ipv4.ip_nonlocal_bind": 0, "vm.swappiness": 10}
    files = render.render_role("base", host=NODES[0][0], overrides={"base_sysctl": others})
    text = files["/etc/sysctl.d/90-aicluster.conf"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[-1] == "net.ipv4.ip_nonlocal_bind = 1", "of a key set twice the last line counts"
    assert lines[:-1] == [f"{key} = {value}" for key, value in others.items()]
