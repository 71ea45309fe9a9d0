"""The unit that brings a node's services up at boot, whatever Docker remembers of them."""

import configparser

import pytest
import render

PATH = "/etc/systemd/system/aicluster-stack.service"
NODES = render.cluster("production")


def test_a_restart_of_the_engine_does_not_touch_it_and_any_systemd_takes_it():
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(render.render_role("stack", host=render.hosts_running("postgres")[0])[PATH])
    assert (unit["Unit"]["wants"], unit["Unit"]["after"]) == ("docker.service", "docker.service")
    assert not {"requires", "bindsto", "partof"} & set(unit["Unit"])
    # That of JetPack 4 (237) starts no `oneshot` again and knows no `exec`.
    assert "type" not in unit["Service"]


@pytest.mark.parametrize("node", NODES, ids=[node["name"] for node in NODES])
def test_where_profiles_are_what_belongs_to_another_one_is_stopped_first(node):
    text = render.render_role("stack", host=node["host"]).get(PATH, "")
    settles = "ExecStartPre=/opt/aicluster/bin/aicluster_profile.py settle" in text
    assert settles is bool(node["profiles"])


def test_an_address_that_comes_after_docker_stops_no_container():
    others = {"net.ipv4.ip_nonlocal_bind": 0, "vm.swappiness": 10}
    files = render.render_role("base", host=NODES[0]["host"], overrides={"base_sysctl": others})
    text = files["/etc/sysctl.d/90-aicluster.conf"]
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[-1] == "net.ipv4.ip_nonlocal_bind = 1", "of a key set twice the last line counts"
    assert lines[:-1] == [f"{key} = {value}" for key, value in others.items()]
