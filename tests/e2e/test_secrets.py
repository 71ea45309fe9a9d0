"""What the machine that runs the playbooks keeps of a run names no secret's value."""

import os
from pathlib import Path

import pytest
import site_under_test as site
from secret_scan import Finder

pytestmark = pytest.mark.looks


def test_no_secret_is_in_the_log_of_the_run_from_nothing(secrets):
    log = os.environ.get("AICLUSTER_RUN_LOG")
    if log is None:
        pytest.skip("only a test from nothing keeps its log: make lab-down test-lab")
    assert "PLAY RECAP" in Path(log).read_text(), "a log of no run"
    with Path(log).open("rb") as content:
        assert Finder(secrets).names_in(content) == set()


def test_no_secret_is_in_what_the_most_talkative_run_says(secrets, tmp_path):
    """All arguments and answers of all modules, and the text of all files that would change."""
    said = tmp_path / "said"
    run = site.run_site("--check", "--diff", "-vvv")
    said.write_text(run.output)
    assert run.code == 0, "a check of a deployed site failed"
    assert "PLAY RECAP" in run.output
    with said.open("rb") as content:
        assert Finder(secrets).names_in(content) == set()
