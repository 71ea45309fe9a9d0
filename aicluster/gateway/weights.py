"""Integer weights of a load balancer's wheel from percentages or measured capacities.

Why a small wheel: Kong's round robin moves one slot per retry, so the number of slots bounds how many tries
one dead node can eat; 80/20 as 4 + 1 needs five.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Any

from ..errors import SiteError

WHOLE = 100  # percent


def _name(endpoint: Mapping[str, Any]) -> str:
    return str(endpoint.get("node") or endpoint.get("address") or endpoint)


def _number(value: float) -> Fraction:
    """Return a share or capacity exactly: 33.3 is 333/10, so that three of them and 0.1 make 100."""
    return Fraction(repr(value))


def is_outside(endpoint: Mapping[str, Any]) -> bool:
    """Tell whether an endpoint was given no part on purpose: it serves, but is not balanced."""
    return endpoint.get("share") == 0


def _parts(endpoints: Sequence[Mapping[str, Any]]) -> list[Fraction]:
    """Return what each endpoint declares of the load, not yet scaled, drained endpoints included."""
    # A share of 0 keeps its own endpoint out and says nothing of how the others are measured.
    if all(endpoint.get("share") is None or is_outside(endpoint) for endpoint in endpoints):
        return _capacities(endpoints)
    for endpoint in endpoints:
        if endpoint.get("share") is None:
            raise SiteError(
                f"upstream_weights: share of {_name(endpoint)} null: other endpoints declare one, so each "
                f"must; set node_ai_share of {_name(endpoint)}, or of no node to use node_ai_capacity"
            )
    shares = [_number(endpoint["share"]) for endpoint in endpoints]
    if sum(shares) != WHOLE:
        listed = " + ".join(f"{_name(endpoint)} {endpoint['share']}" for endpoint in endpoints)
        raise SiteError(
            f"upstream_weights: shares {listed} = {float(sum(shares)):.16g}: must add up to {WHOLE}, "
            "drained nodes included; correct node_ai_share of a node or node_ai_tier_share of its tier"
        )
    return shares


def _capacities(endpoints: Sequence[Mapping[str, Any]]) -> list[Fraction]:
    """Return the measured capacities; a lone endpoint needs none, and a drained one counts for nothing.

    An endpoint whose share is 0 is not there at all, whatever was measured.
    """
    inside = [endpoint for endpoint in endpoints if not is_outside(endpoint)]
    parts = []
    for endpoint in endpoints:
        capacity, balanced = endpoint.get("capacity"), not is_outside(endpoint)
        if capacity is None and len(inside) > 1 and balanced and not endpoint.get("drained"):
            raise SiteError(
                f"upstream_weights: capacity of {_name(endpoint)} null: no endpoint declares a share, so "
                f"each needs its capacity; set node_ai_capacity of {_name(endpoint)} or node_ai_share of all"
            )
        measured = int(len(inside) == 1) if capacity is None else capacity
        parts.append(_number(measured if balanced else 0))
    return parts


def _lacking(parts: Sequence[int], weights: Sequence[int], total: int) -> list[int]:
    return [part - weight * total for part, weight in zip(parts, weights, strict=True)]


def wheel(parts: Sequence[int], slots: int) -> list[int]:
    """Return the positive integers, at most `slots` in sum, whose ratios come closest to those of `parts`.

    `parts` are positive integers, the biggest first, no more of them than `slots`. The error of a wheel is
    the largest absolute difference between the fraction of slots an endpoint gets and the fraction it should
    have; of two wheels with the same error the smaller wins, so the result never has a common divisor.
    """
    total = sum(parts)
    best: tuple[Fraction, list[int]] | None = None
    for size in range(len(parts), slots + 1):
        weights = [1] * len(parts)
        size_parts = [part * size for part in parts]
        # Slot by slot to whoever lacks most: for a fixed size the differences then stay least spread, which
        # minimises every convex measure of the error at once, the largest difference among them.
        for _ in range(size - len(parts)):
            lacking = _lacking(size_parts, weights, total)
            weights[lacking.index(max(lacking))] += 1
        error = Fraction(max(map(abs, _lacking(size_parts, weights, total))), size * total)
        if best is None or error < best[0]:
            best = error, weights
    return best[1] if best else []


def upstream_weights(endpoints: Sequence[Mapping[str, Any]], slots: int = 20) -> list[dict[str, Any]]:
    """Return the endpoints in their order, each with an integer `weight`; together they share no divisor.

    `endpoints`: mappings as `service_endpoints` gives them; read are node, share (percent), capacity (one
    unit for all) and drained. Shares count if any endpoint declares one above 0, capacities otherwise. An
    endpoint with the share 0 gets 0 either way. Drained endpoints get 0, the others are rescaled; one with a
    positive part that is not drained gets at least 1.
    `slots` bounds the sum of the weights. Numbers are in their range: the preflight has seen to it. Raises
    SiteError for shares that do not add up to 100 or are declared by some only, for missing capacities, if
    nothing is left to balance, or if there are more endpoints than slots.
    """
    parts = _parts(endpoints)
    active = [
        (part, endpoint)
        for part, endpoint in zip(parts, endpoints, strict=True)
        if part > 0 and not endpoint.get("drained")
    ]
    if not active:
        listed = ", ".join(
            f"{_name(endpoint)} {'drained' if endpoint.get('drained') else part}"
            for part, endpoint in zip(parts, endpoints, strict=True)
        )
        raise SiteError(
            f"upstream_weights: endpoints {listed}: every weight would be 0; "
            "set node_drained: false on one node or give it a positive node_ai_share or node_ai_capacity"
        )
    if len(active) > slots:
        raise SiteError(
            f"upstream_weights: endpoints {len(active)}: each needs one of the {slots} slots; "
            "drain some nodes"
        )
    # A tie does not depend on the order of the list.
    active.sort(key=lambda pair: (-pair[0], *(str(pair[1].get(key)) for key in ("node", "address", "port"))))
    scale = lcm(*(part.denominator for part, _ in active))
    weights = wheel([int(part * scale) for part, _ in active], slots)
    weight_of = {id(endpoint): weight for (_, endpoint), weight in zip(active, weights, strict=True)}
    return [{**endpoint, "weight": weight_of.get(id(endpoint), 0)} for endpoint in endpoints]
