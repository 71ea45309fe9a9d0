"""Units of a node's own: the one that brings its services up at boot, and programs that run for ever."""

import configparser

import pytest
import render

from aicluster.engine.files import rule_for

PATH = "/etc/systemd/system/aicluster-stack.service"


def test_a_restart_of_the_engine_does_not_touch_the_boot_unit_and_any_systemd_takes_it():
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(render.render_role("stack", host=render.hosts_running("postgres")[0])[PATH])
    assert (unit["Unit"]["wants"], unit["Unit"]["after"]) == ("docker.service", "docker.service")
    assert not {"requires", "bindsto", "partof"} & set(unit["Unit"])
    # That of JetPack 4 (237) starts no `oneshot` again and knows no `exec`.
    assert "type" not in unit["Service"]


@pytest.mark.parametrize(("host", "restarted"), [
    ("192.168.1.157", ["aicluster-containers", "aicluster-jetson"]),
    ("192.168.1.234", ["aicluster-containers"]),
], ids=["a Jetson", "a node with a timer of ours"])  # fmt: skip
def test_programs_that_run_for_ever_start_again_with_what_they_import(host, restarted):
    rendering = render.renderer("production", host)
    rules = rendering.state("stack", rendering.variables("stack", {"stack_services": []}))["files"]
    for name in ("aicluster_textfile.py", "aicluster_verify.py"):
        rule = rule_for(f"/opt/aicluster/bin/{name}", rules)
        assert sorted(rule["restart"]) == restarted
