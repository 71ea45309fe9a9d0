"""Programs of ours that run for ever and what they import."""

import pytest
import render

from aicluster.engine.files import rule_for


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
