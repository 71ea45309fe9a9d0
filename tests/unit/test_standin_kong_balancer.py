"""The stand-in's wheel and health checks keep Kong's rules: who is next, who is out, who comes back."""

from collections import Counter
from contextlib import nullcontext

import pytest
import standin_kong
from hypothesis import given
from hypothesis import strategies as st
from standins.kong.kong_standin.balancer import NoPeerError, wheel_of
from standins.kong.kong_standin.healthcheck import Checker

ACTIVE = {
    "healthy": {"interval": 5, "successes": 2, "http_statuses": [200]},
    "unhealthy": {
        "interval": 5, "tcp_failures": 1, "timeouts": 2, "http_failures": 3, "http_statuses": [500, 503],
    },
}  # fmt: skip
PASSIVE = {"unhealthy": {"tcp_failures": 1, "timeouts": 1, "http_failures": 0}}
CHECKS = {"active": ACTIVE, "passive": PASSIVE}


def upstream(*weights, **checks):
    targets = [(f"127.9.9.{number}:1", weight) for number, weight in enumerate(weights, start=1)]
    return standin_kong.config_of(standin_kong.chat(*targets, checks=checks)).upstreams["pool"]


def picks(wheel, count):
    return Counter(wheel.pick().target.host for _ in range(count))


# --- the wheel ---


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
    assert len(wheel_of(upstream(*weights)).slots) == slots


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any))
def test_every_turn_of_the_wheel_is_exact(weights):
    wheel = wheel_of(upstream(*weights))
    turn = len(wheel.slots)
    divisor = sum(weights) // turn
    for _ in range(3):
        assert picks(wheel, turn) == {
            f"127.9.9.{n}": w // divisor for n, w in enumerate(weights, start=1) if w
        }


def test_80_20_is_exact_in_any_five_picks_wherever_they_begin():
    wheel = wheel_of(upstream(80, 20))
    wheel.pick()
    wheel.pick()
    for _ in range(100):
        assert picks(wheel, 5) == {"127.9.9.1": 4, "127.9.9.2": 1}


def test_a_failed_target_is_not_remembered_so_a_retry_may_meet_it_again():
    wheel = wheel_of(upstream(80, 20), shuffle=lambda _: None)
    assert [wheel.pick().target.host for _ in range(4)].count("127.9.9.1") >= 3


def test_unavailable_targets_are_skipped():
    wheel = wheel_of(upstream(80, 20))
    wheel.set_available(wheel.addresses[0], False)
    assert picks(wheel, 10) == {"127.9.9.2": 10}


@pytest.mark.parametrize("weights", [(0, 0), (1,)], ids=["all weights are 0", "the only target is down"])
def test_with_nobody_left_there_is_no_peer(weights):
    wheel = wheel_of(upstream(*weights))
    wheel.set_available(wheel.addresses[0], False)
    with pytest.raises(NoPeerError, match="failure to get a peer from the ring-balancer"):
        wheel.pick()


@pytest.mark.parametrize(
    ("threshold", "healthy"),
    [
        pytest.param(0, True, id="0: anybody left is enough"),
        pytest.param(19, True, id="19: the 20 percent that are left are more"),
        pytest.param(20, False, id="20: 20 percent are not more than 20"),
    ],
)
def test_the_threshold_is_a_percentage_of_weight(threshold, healthy):
    wheel = wheel_of(upstream(80, 20, threshold=threshold))
    wheel.set_available(wheel.addresses[0], False)
    assert wheel.healthy == healthy
    with nullcontext() if healthy else pytest.raises(NoPeerError):
        assert wheel.pick() is wheel.addresses[1]


# --- counters ---


def checker(weights=(80, 20), **checks):
    made = Checker(upstream(*weights, **(checks or CHECKS)))
    return made, made.wheel.addresses[0]


def report(made, address, event):
    """An event is `timeout`, `tcp` or a status, after whose eyes saw it: `active 200`."""
    check, _, what = event.partition(" ")
    if what == "timeout":
        made.report_timeout(address, check)
    elif what == "tcp":
        made.report_tcp_failure(address, check)
    else:
        made.report_status(address, int(what), check)


@pytest.mark.parametrize(
    ("events", "state"),
    [
        pytest.param([], "HEALTHY", id="targets start healthy"),
        pytest.param(["active tcp"], "UNHEALTHY", id="one refused probe"),
        pytest.param(["active timeout"], "HEALTHY", id="one probe of two timed out"),
        pytest.param(["active timeout"] * 2, "UNHEALTHY", id="two probes timed out"),
        pytest.param(["active 500", "active 503"], "HEALTHY", id="two bad answers of three"),
        pytest.param(["active 500"] * 3, "UNHEALTHY", id="three bad answers"),
        pytest.param(["active 500", "active 500", "active timeout"], "HEALTHY", id="kinds are counted apart"),
        pytest.param(
            ["active 500", "active 500", "active 200", "active 500"], "HEALTHY", id="a success forgets"
        ),
        pytest.param(["active 418"] * 9, "HEALTHY", id="a status in neither list moves nothing"),
        pytest.param(["passive tcp"], "UNHEALTHY", id="one refused request"),
        pytest.param(["passive timeout"], "UNHEALTHY", id="one request timed out"),
        pytest.param(["passive 503"] * 9, "HEALTHY", id="a busy node stays, with http_failures 0"),
        pytest.param(["passive tcp", "active 200"], "UNHEALTHY", id="one good probe is not enough"),
        pytest.param(["passive tcp", "active 200", "active 200"], "HEALTHY", id="two good probes"),
        pytest.param(
            ["passive tcp", "active 200", "active tcp", "active 200"],
            "UNHEALTHY",
            id="a failure forgets successes",
        ),
        pytest.param(["passive tcp"] + ["passive 200"] * 9, "UNHEALTHY", id="good requests do not"),
    ],
)  # fmt: skip
def test_health_is_counted(events, state):
    made, address = checker()
    for event in events:
        report(made, address, event)
    assert made.state(address) == state


@pytest.mark.parametrize(
    ("weights", "checks", "state"),
    [
        pytest.param((80, 20), {"threshold": 0}, "HEALTHCHECKS_OFF", id="nothing is checked by default"),
        pytest.param((0, 20), CHECKS, "HEALTHCHECKS_OFF", id="weight 0 is not checked"),
        pytest.param((80, 20), CHECKS, "HEALTHY", id="weight and checks"),
    ],
)
def test_what_is_not_checked_says_so(weights, checks, state):
    made, address = checker(weights, **checks)
    assert made.state(address) == state


def test_without_checks_a_refused_connection_changes_nothing():
    made, address = checker(threshold=0)
    made.report_tcp_failure(address)
    assert address.available


def test_without_successes_a_target_never_comes_back():
    checks = {"active": ACTIVE | {"healthy": {"interval": 5, "successes": 0}}, "passive": PASSIVE}
    made, address = checker(**checks)
    report(made, address, "passive tcp")
    for _ in range(9):
        report(made, address, "active 200")
    assert made.state(address) == "UNHEALTHY"


def test_a_reload_keeps_the_health_of_targets_that_stay():
    before, address = checker()
    before.report_tcp_failure(address)
    after, same = checker((50, 50))
    after.keep(before)
    assert after.state(same) == "UNHEALTHY"
    assert after.state(after.wheel.addresses[1]) == "HEALTHY"
