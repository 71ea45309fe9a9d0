"""upstream_weights: percentages or capacities become a small wheel with the least error."""

from fractions import Fraction
from itertools import product
from math import gcd
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aicluster.gateway.weights import upstream_weights

DRAINED = "drained"


def endpoints(*parts: Any, field: str = "share") -> list[dict[str, Any]]:
    """One endpoint per part; a pair (part, DRAINED) is a drained one."""
    pairs = [part if isinstance(part, tuple) else (part, None) for part in parts]
    return [
        {"node": f"N{number}", field: part, "drained": state == DRAINED}
        for number, (part, state) in enumerate(pairs)
    ]


def weights(listed: list[dict[str, Any]], **options: Any) -> list[int]:
    return [endpoint["weight"] for endpoint in upstream_weights(listed, **options)]


capacity_lists = st.lists(
    st.tuples(st.integers(0, 1000) | st.floats(0, 1000, allow_nan=False), st.sampled_from([None, DRAINED])),
    min_size=1,
    max_size=12,
).filter(lambda parts: any(part > 0 and state is None for part, state in parts))
few_slots = st.integers(12, 30)


@given(capacity_lists, few_slots)
def test_the_wheel_is_small_and_reduced_and_everyone_alive_is_on_it(parts, slots):
    result = weights(endpoints(*parts, field="capacity"), slots=slots)
    assert 0 < sum(result) <= slots
    assert gcd(*result) == 1
    for (part, state), weight in zip(parts, result, strict=True):
        assert (weight > 0) == (part > 0 and state is None)


def error_of(result: tuple[int, ...] | list[int], parts: list[int]) -> Fraction:
    return max(
        abs(Fraction(weight, sum(result)) - Fraction(part, sum(parts)))
        for weight, part in zip(result, parts, strict=True)
    )


@settings(max_examples=60)
@given(st.lists(st.integers(1, 100), min_size=1, max_size=4), st.integers(4, 9))
def test_no_other_wheel_comes_closer_and_none_as_close_is_smaller(parts, slots):
    result = weights(endpoints(*parts, field="capacity"), slots=slots)
    candidates = [wheel for wheel in product(range(1, slots + 1), repeat=len(parts)) if sum(wheel) <= slots]
    best = min((error_of(wheel, parts), sum(wheel)) for wheel in candidates)
    assert (error_of(result, parts), sum(result)) == best
