"""Kill the controller anywhere, again and again: the next run repairs it and nothing is lost.

One kill is in every test run: test_another_site.py. These ten are for `make test-full`.
"""

import time
from collections.abc import Iterator

import interrupted
import pytest
import site_under_test as site
from interrupted import postgres

ROUNDS = 10
pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def full_run_s() -> float:
    """Seconds a run takes that repairs the damage undisturbed."""
    interrupted.damage(site.nodes())
    began = time.monotonic()
    site.run_site().succeeded()
    return time.monotonic() - began


@pytest.fixture(scope="module")
def rows() -> Iterator[str]:
    postgres("create table survives (round int)")
    postgres("insert into survives values (1), (2), (3)")
    yield postgres("select count(*) from survives")
    postgres("drop table survives")


@pytest.mark.parametrize("attempt", range(ROUNDS), ids=lambda number: f"kill {number + 1}")
def test_the_run_after_a_kill_converges_and_the_one_after_it_changes_nothing(attempt, full_run_s, rows):
    interrupted.damage(site.nodes())
    cut = interrupted.kill_after(interrupted.moment(attempt, full_run_s))
    repaired = site.run_site()
    assert repaired.code == 0, f"killed here:\n{cut[-2000:]}\n\nthe next run:\n{repaired.output[-4000:]}"
    assert site.run_site().succeeded().changed == {node.address: 0 for node in site.nodes()}
    assert postgres("select count(*) from survives") == rows
