"""One run at a time changes a node; a run that is seen to be over holds nothing."""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import pytest

from aicluster.adapters.node_action import NodeAction
from aicluster.engine import runs
from aicluster.engine.runs import held_sentence, is_dead, process_of_this_run, this_run
from aicluster.errors import SiteError

GONE = 2**22 + 1


@pytest.mark.parametrize(("changes", "dead"), [
    pytest.param({}, False, id="one whose process lives"),
    pytest.param({"pid": GONE}, True, id="one whose process is gone"),
    pytest.param({"began": "1"}, True, id="one whose number another process has now"),
    pytest.param({"boot": "the last one"}, True, id="one before the last boot of this machine"),
    pytest.param({"machine": "laptop", "pid": GONE}, False, id="one of another machine: who knows"),
])  # fmt: skip
def test_only_a_run_that_can_be_seen_to_be_over_is_dead(changes, dead):
    me = this_run(os.getpid(), "")
    assert is_dead({**me, **changes}, me) is dead


def test_a_held_node_is_refused_with_who_holds_it_since_when_and_what_to_do():
    who = {"who": "anna@laptop", "pid": 4242, "play": "site.yml"}
    assert held_sentence("PI31", {**who, "since": "02:51 UTC", "silent_s": 12}, "/run/x.lock") == (
        "node PI31 held by anna@laptop (pid 4242, site.yml) since 02:51 UTC, last seen 12 s ago: must be "
        "changed by one run at a time; wait until that one ends, or, if it is gone for good, "
        "`sudo rm /run/x.lock` there, and run this again"
    )


def test_a_task_knows_the_process_of_its_run_whatever_became_of_it():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(process_of_this_run).result() == os.getpid()


def test_what_is_left_of_a_killed_run_changes_nothing(monkeypatch):
    monkeypatch.setattr(runs, "process_of_this_run", lambda: GONE)
    step = object.__new__(NodeAction)
    with pytest.raises(SiteError, match="the run of this task is gone: nothing was changed on PI31"):
        step.change({"node_name": "PI31"}, {"verb": "deliver"})
