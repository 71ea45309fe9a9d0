"""Facts of Kong this project relies on, pinned on its stand-in: who is next, who is out, what is refused."""

from collections import Counter
from copy import deepcopy
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standin_kong import ENVIRONMENT, KEYS, chat, config_of, plugin, text_of
from standins.kong.kong_standin.balancer import Checker, NoPeerError
from standins.kong.kong_standin.config import parse
from standins.kong.kong_standin.fields import InvalidError
from standins.kong.kong_standin.proxy import Gateway
from standins.kong.kong_standin.server import Server
from standins.kong.kong_standin.settings import settings_of

# --- the wheel, and the health of targets ---

ACTIVE = {
    "healthy": {"interval": 5, "successes": 2, "http_statuses": [200]},
    "unhealthy": {
        "interval": 5, "tcp_failures": 1, "timeouts": 2, "http_failures": 3, "http_statuses": [500, 503],
    },
}  # fmt: skip
CHECKS = {"active": ACTIVE, "passive": {"unhealthy": {"tcp_failures": 1, "timeouts": 1}}}
REFUSED, TIMED_OUT = "active tcp_failures", "active timeouts"


def checker(*weights, checks=None):
    targets = [(f"127.9.9.{number}:1", weight) for number, weight in enumerate(weights, start=1)]
    return Checker(config_of(chat(*targets, checks=checks)).upstreams["pool"])


def picks(wheel, count):
    return Counter(wheel.pick().target.host for _ in range(count))


@given(st.lists(st.integers(0, 12), min_size=1, max_size=4).filter(any), st.integers(0, 5))
def test_every_turn_of_the_wheel_is_exact_wherever_it_begins(weights, begin):
    wheel = checker(*weights).wheel
    picks(wheel, begin)
    turn = len(wheel.slots)
    shares = {f"127.9.9.{n}": w * turn // sum(weights) for n, w in enumerate(weights, start=1) if w}
    assert [picks(wheel, turn) for _ in range(3)] == [shares] * 3


def test_unavailable_targets_are_skipped_until_nobody_is_left():
    wheel = checker(80, 20).wheel
    assert len(wheel.slots) == 5, "weights are divided by their greatest common divisor"
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


@pytest.mark.parametrize(
    ("weight", "events", "state"),
    [
        pytest.param(80, [], "HEALTHY", id="targets start healthy"),
        pytest.param(0, [], "HEALTHCHECKS_OFF", id="weight 0 is not checked"),
        pytest.param(80, [REFUSED], "UNHEALTHY", id="one refused probe"),
        pytest.param(80, [TIMED_OUT], "HEALTHY", id="one probe of two timed out"),
        pytest.param(80, ["active 500"] * 3, "UNHEALTHY", id="three bad answers"),
        pytest.param(80, ["active 500"] * 2 + [TIMED_OUT], "HEALTHY", id="kinds are counted apart"),
        pytest.param(
            80, ["active 500"] * 2 + ["active 200", "active 500"], "HEALTHY", id="a success forgets"
        ),
        pytest.param(80, ["active 418"] * 9, "HEALTHY", id="a status in neither list moves nothing"),
        pytest.param(80, ["passive timeouts"], "UNHEALTHY", id="one request timed out"),
        pytest.param(80, [REFUSED, "active 200", "active 200"], "HEALTHY", id="two good probes"),
        pytest.param(80, [REFUSED, "active 200"] * 2, "UNHEALTHY", id="a failure forgets successes"),
    ],
)
def test_health_is_counted(weight, events, state):
    assert state_after(checker(weight, 20, checks=CHECKS), events) == state


def test_a_reload_keeps_the_health_of_targets_that_stay():
    before, after = checker(80, 20, checks=CHECKS), checker(50, 50, checks=CHECKS)
    state_after(before, [REFUSED])
    after.keep(before)
    assert [after.state(address) for address in after.wheel.addresses] == ["UNHEALTHY", "HEALTHY"]


# --- what is refused ---

GOOD = chat(("127.9.9.1:11434", 80), plugins=[plugin("rate-limiting", minute=5)]) | KEYS
ROUTE, TARGET = "services 0 routes 0", "upstreams 0 targets 0"
PLUGIN = f"{ROUTE} plugins 0"


def changed(place, value):
    """The good tree with one change; a place is keys and positions, `services 0 retries`."""
    tree: Any = deepcopy(GOOD)
    *parents, last = [int(step) if step.isdigit() else step for step in place.split()]
    here = tree
    for step in parents:
        here = here[step]
    if isinstance(here, list):
        here.append(value)
    else:
        here[last] = value
    return tree


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        pytest.param(f"{TARGET} weight", 70000, "between 0 and 65535", id="weight beyond its range"),
        pytest.param(f"{TARGET} target", "orin0:11434", "real Kong resolves names", id="a name as a target"),
        pytest.param("upstreams 0 helthchecks", {}, "unknown field", id="a misspelt field"),
        pytest.param("services 0 host", "gone", "no upstream 'gone'", id="a host that is no upstream"),
        pytest.param(f"{ROUTE} paths", ["~/a("], "invalid regex", id="a broken regex"),
        pytest.param(f"{ROUTE} response_buffering", None, "not in this stand-in", id="a default of Kong's"),
        pytest.param(PLUGIN, plugin("acl"), "'acl' is not in this stand-in", id="a plugin nobody uses"),
        pytest.param(
            f"{ROUTE} plugins 1", plugin("pre-function", log=["("]), "error parsing", id="broken Lua"
        ),
        pytest.param("services 1", GOOD["services"][0], "uniqueness violation", id="two services of a name"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_reason(place, value, message):
    with pytest.raises(InvalidError, match=message):
        config_of(changed(place, value))


def test_every_mistake_is_listed_at_once():
    tree = changed(f"{TARGET} weight", -1) | {"plugins": [{"config": {}}]}
    with pytest.raises(InvalidError) as refused:
        config_of(tree)
    assert [problem.path for problem in refused.value.problems] == [
        "upstreams[1].targets[1].weight", "plugins[1].name",
    ]  # fmt: skip


def test_a_plugin_that_is_not_enabled_is_refused():
    with pytest.raises(InvalidError, match="plugin 'rate-limiting' not enabled"):
        parse(text_of(GOOD), ["key-auth"])


def test_a_reload_with_a_bad_file_keeps_what_was_there(tmp_path):
    file = tmp_path / "kong.yml"
    server = Server(settings_of(ENVIRONMENT | {"KONG_DECLARATIVE_CONFIG": str(file)}), config_of(GOOD))
    server.gateway = Mock(Gateway)
    file.write_text(text_of(changed(f"{TARGET} weight", -1)))
    server.reload()
    server.gateway.load.assert_not_called()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        pytest.param("UPSTREAM_KEEP_ALIVE_POOL_SIZE", "0", "no setting of Kong", id="a misspelt setting"),
        pytest.param("DATABASE", "postgres", "KONG_DATABASE=off", id="a database"),
        pytest.param("PROXY_ACCESS_LOG", "/dev/stdout other", "only logs JSON", id="an unknown format"),
    ],
)
def test_a_setting_is_refused(name, value, problem):
    with pytest.raises(ValueError, match=problem):
        settings_of(ENVIRONMENT | {f"KONG_{name}": value})
