"""Metrics of our own programs, as node_exporter reads them."""

import pytest
import render
from aicluster_textfile import write

from aicluster.engine.files import rule_for


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "a.prom"
    write(str(path), "x\n")
    assert path.read_text() == "x\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


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
