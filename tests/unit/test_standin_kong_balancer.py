"""The stand-in's wheel and health checks keep Kong's rules: who is next, who is out, who comes back."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin_kong import chat, config_of
from standins.kong.kong_standin.balancer import Checker, NoPeerError

ACTIVE = {
    "healthy": {"interval": 5, "successes": 2, "http_statuses": [200]},
    "unhealthy": {
        "interval": 5, "tcp_failures": 1, "timeouts": 2, "http_failures": 3, "http_statuses": [500, 503],
    },
}  # fmt: skip
CHECKS = {"active": ACTIVE, "passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}}


def checker(*weights, checks=None):
    targets = [(f"127.9.9.{number}:1", weight) for number, weight in enumerate(weights, start=1)]
    return Checker(config_of(chat(*targets, checks=checks)).upstreams["pool"])


def picks(wheel, count):
    return Counter(wheel.pick().target.host for _ in range(count))


@pytest.mark.parametrize(
    ("weights", "slots"),
    [
        pytest.param((80, 20), 5, id="80/20 is four and one"),
        pytest.param((79, 21), 100, id="79/21 cannot be reduced"),
        pytest.param((1, 1, 0), 2, id="weight 0 has no slot"),
        pytest.param((0, 0), 0, id="nobody has a slot"),
    ],
)
def test_weights_are_divided_by_their_greatest_common_divisor(weights, slots):
    assert len(checker(*weights).wheel.slots) == slots


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any), st.integers(0, 5))
def test_every_turn_of_the_wheel_is_exact_wherever_it_begins(weights, begin):
    wheel = checker(*weights).wheel
    picks(wheel, begin)
    turn = len(wheel.slots)
    shares = {f"127.9.9.{n}": w * turn // sum(weights) for n, w in enumerate(weights, start=1) if w}
    assert [picks(wheel, turn) for _ in range(3)] == [shares] * 3


def test_a_failed_target_is_not_remembered_so_a_retry_may_meet_it_again(monkeypatch):
    monkeypatch.setattr("random.shuffle", lambda _: None)
    wheel = checker(80, 20).wheel
    assert [wheel.pick().target.host for _ in range(4)].count("127.9.9.1") >= 3


def test_unavailable_targets_are_skipped_until_nobody_is_left():
    wheel = checker(80, 20).wheel
    wheel.set_available(wheel.addresses[0], False)
    assert picks(wheel, 10) == {"127.9.9.2": 10}
    wheel.set_available(wheel.addresses[1], False)
    with pytest.raises(NoPeerError):
        wheel.pick()


def state_after(made, events):
    """The first target's state after events: who saw it, and a kind of failure or a status."""
    address = made.wheel.addresses[0]
    for event in events:
        check, what = event.split()
        if what.isdigit():
            made.report_status(address, int(what))
        else:
            made.report_failure(address, what, check)
    return made.state(address)


REFUSED, TIMED_OUT = "active tcp_failures", "active timeouts"


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param([], "HEALTHY", id="targets start healthy"),
        pytest.param([REFUSED], "UNHEALTHY", id="one refused probe"),
        pytest.param([TIMED_OUT], "HEALTHY", id="one probe of two timed out"),
        pytest.param([TIMED_OUT] * 2, "UNHEALTHY", id="two probes timed out"),
        pytest.param(["active 500", "active 503"], "HEALTHY", id="two bad answers of three"),
        pytest.param(["active 500"] * 3, "UNHEALTHY", id="three bad answers"),
        pytest.param(["active 500"] * 2 + [TIMED_OUT], "HEALTHY", id="kinds are counted apart"),
        pytest.param(["active 500"] * 2 + ["active 200", "active 500"], "HEALTHY", id="a success forgets"),
        pytest.param(["active 418"] * 9, "HEALTHY", id="a status in neither list moves nothing"),
        pytest.param(["passive tcp_failures"], "UNHEALTHY", id="one refused request"),
        pytest.param(["passive timeouts"], "UNHEALTHY", id="one request timed out"),
        pytest.param([REFUSED, "active 200"], "UNHEALTHY", id="one good probe is not enough"),
        pytest.param([REFUSED, "active 200", "active 200"], "HEALTHY", id="two good probes"),
        pytest.param([REFUSED, "active 200"] * 2, "UNHEALTHY", id="a failure forgets successes"),
    ],
)
def test_health_is_counted(events, state):
    assert state_after(checker(80, 20, checks=CHECKS), events) == state


WITHOUT_SUCCESSES = CHECKS | {"active": ACTIVE | {"healthy": {"interval": 5, "successes": 0}}}


@pytest.mark.parametrize(
    ("weight", "checks", "events", "state", "available"),
    [
        pytest.param(80, {}, ["passive tcp_failures"], "HEALTHCHECKS_OFF", True, id="nothing is checked"),
        pytest.param(0, CHECKS, [], "HEALTHCHECKS_OFF", True, id="weight 0 is not checked"),
        pytest.param(
            80, WITHOUT_SUCCESSES, [REFUSED, *["active 200"] * 9], "UNHEALTHY", False,
            id="without successes a target never comes back",
        ),
    ],
)  # fmt: skip
def test_what_is_not_counted(weight, checks, events, state, available):
    made = checker(weight, 20, checks=checks)
    assert (state_after(made, events), made.wheel.addresses[0].available) == (state, available)


def test_a_reload_keeps_the_health_of_targets_that_stay():
    before, after = checker(80, 20, checks=CHECKS), checker(50, 50, checks=CHECKS)
    state_after(before, [REFUSED])
    after.keep(before)
    assert [after.state(address) for address in after.wheel.addresses] == ["UNHEALTHY", "HEALTHY"]
