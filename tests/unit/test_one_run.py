"""One run at a time changes a node: what its controller sees of another, and what the node."""

import fcntl
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path

import pytest
from aicluster_node import hold
from aicluster_node.answer import answer
from node_half import QUESTION, delivery_of

from aicluster.adapters.node_action import NodeAction
from aicluster.engine import runs
from aicluster.engine.runs import is_dead, process_of_this_run, this_run
from aicluster.errors import SiteError

pytestmark = pytest.mark.usefixtures("own_node")
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


def test_a_task_knows_the_process_of_its_run_whatever_became_of_it():
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(process_of_this_run).result() == os.getpid()


def test_what_is_left_of_a_killed_run_changes_nothing(monkeypatch):
    monkeypatch.setattr(runs, "process_of_this_run", lambda: GONE)
    step = object.__new__(NodeAction)
    step._task_vars = {"node_name": "PI31"}
    with pytest.raises(SiteError, match="the run of this task is gone: nothing was changed on PI31"):
        step.change({"verb": "deliver"})


ANNA = {"run": "laptop 1 100 5", "who": "anna@laptop", "pid": 100, "play": "site.yml"}
PI31 = {"run": "pi31 2 200 6", "who": "aicluster@pi31", "pid": 200, "play": "edge.yml"}


def ask(verb, run, **more):
    return answer({**more, "verb": verb, "run": run})


def refused(path):
    answer({**delivery_of({path: b"x"}, validations={str(path): "false %s"}), "run": ANNA})


@pytest.mark.parametrize("end", [
    pytest.param(lambda _path: ask("release", ANNA), id="is released"),
    pytest.param(lambda _path: answer({**QUESTION, "provisioned_now": {}, "run": ANNA}), id="has verified"),
    pytest.param(refused, id="delivered a file that is refused"),
    pytest.param(lambda _path: Path(hold.LOCK_FILE).unlink(), id="has no lock any more, as after a boot"),
    pytest.param(lambda _path: Path(hold.LOCK_FILE).write_text('{"ru'), id="was killed while it wrote it"),
])  # fmt: skip
def test_a_node_is_free_when_its_run(tmp_path, end):
    ask("hold", ANNA)
    end(tmp_path / "stack" / "conf")
    assert ask("hold", PI31) == {"changed": False}


@pytest.mark.parametrize(("passed_s", "free"), [
    pytest.param(hold.SILENT_S - 60, False, id="not yet"),
    pytest.param(hold.SILENT_S + 60, True, id="after a day"),
    pytest.param(-60, True, id="when the machine has rebooted under a lock that stayed"),
])  # fmt: skip
def test_a_silent_run_is_taken_over(monkeypatch, passed_s, free):
    ask("hold", ANNA)
    now = hold.time.monotonic()
    monkeypatch.setattr(hold.time, "monotonic", lambda: now + passed_s)
    assert ("held_by" not in ask("hold", PI31)) is free


def test_a_run_waits_for_a_switch_that_a_request_began():
    with ThreadPoolExecutor(1) as pool, Path(hold.SWITCH_LOCK).open("w") as switch:
        fcntl.flock(switch, fcntl.LOCK_EX)
        run = pool.submit(ask, "hold", ANNA)
        with pytest.raises(FutureTimeout):
            run.result(0.5)
        fcntl.flock(switch, fcntl.LOCK_UN)
        assert run.result(5) == {"changed": False}


def test_a_run_beside_a_switch_that_does_not_end_holds_nothing(monkeypatch):
    monkeypatch.setattr(hold, "SWITCH_S", 0)
    with Path(hold.SWITCH_LOCK).open("w") as switch:
        fcntl.flock(switch, fcntl.LOCK_EX)
        assert "wait for it" in ask("hold", ANNA)["msg"]
    assert ask("hold", PI31) == {"changed": False}
