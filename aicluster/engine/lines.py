# SPDX-License-Identifier: Apache-2.0
"""The plan for people."""

from collections.abc import Iterable, Mapping
from typing import Any

from .facts import silent


def plan_lines(
    actual: Mapping[str, Any], reactions: Iterable[tuple[str, ...]], provision: Iterable[str]
) -> list[str]:
    """Return the plan for people: `+` create, `~` change, `-` remove."""
    lines = [f"~ package {item['name']} ({item['why']})" for item in actual["unfinished"]]
    half = [item["name"] for item in actual["unfinished"]]
    lines += [f"+ package {name}" for name in actual["packages"] if name not in half]
    for item in actual["differing"]:
        sign, why = ("+", "") if item["reason"] == "missing" else ("~", f" ({item['reason']})")
        lines.append(f"{sign} file {item['path']}{why}")
    lines += [f"- file {path}" for path in actual["leftover"]]
    lines += [f"~ unit {item['name']} ({item['why']})" for item in actual["units"]]
    lines += [f"~ {verb} {unit}" for verb, unit in reactions]
    lines += container_lines(actual)
    lines += [f"~ provision {service}" for service in provision]
    return lines


def container_lines(actual: Mapping[str, Any]) -> list[str]:
    """Return the lines about images and containers."""
    if silent(actual):
        return ["~ images and containers (unknown until docker runs)"]
    lines = [f"+ image {image}" for image in actual["conditions"]["images"]]
    for item in actual["containers"]:
        sign, why = ("+", "") if item["why"] == "missing" else ("~", f" ({item['why']})")
        lines.append(f"{sign} container {item['service']}{why}")
    lines += [f"- container {name}" for name in actual["orphans"]]
    lines += [
        f"~ container {name} (inactive in profile {actual['profile']})" for name in actual["unexpected"]
    ]
    return lines
