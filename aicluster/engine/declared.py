# SPDX-License-Identifier: Apache-2.0
"""What a role declares besides its templates: `__<role>_state`, its keys, and what they mean."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import SiteError

# What a change of a service's file means for its containers; the first where a rule says nothing.
CHANGES = ("recreate", "reload", "none")
CONTAINER_RELOAD = "reload container"
# Keys of `__<role>_state`, and of what is below each of them.
STATE_KEYS = (
    "containers", "engine", "files", "packages", "probe", "provision_inputs", "provision_last",
    "provision_when", "units",
)  # fmt: skip
INNER_KEYS = {
    "containers": ("check", "confirm", "reload"),
    "files": ("accept", "change", "keys_only", "merge", "mode", "reload", "restart", "validate"),
    "units": ("boot", "enabled", "name", "waits"),
}
PROBE_KEYS = ("file", "url")


def refuse_unknown(where: str, keys: Iterable[str], allowed: Sequence[str]) -> None:
    """Raise SiteError for the first key that does not exist, with the one that was probably meant."""
    for key in keys:
        if key not in allowed:
            near = difflib.get_close_matches(str(key), allowed, 1)
            meant = f"; did you mean {near[0]}?" if near else ""
            raise SiteError(f"{where} has the unknown key {key}; allowed: {', '.join(allowed)}{meant}")


def check_state(role: str, state: Mapping[str, Any]) -> None:
    """Raise SiteError for what `__<role>_state` says and nobody would hear."""
    name = f"role {role}: __{role}_state"
    refuse_unknown(name, state, STATE_KEYS)
    refuse_unknown(f"{name}.probe", state.get("probe", {}), PROBE_KEYS)
    for unit in state.get("units", []):
        refuse_unknown(f"{name}.units, {unit.get('name')},", unit, INNER_KEYS["units"])
    for part in ("files", "containers"):
        for item, said in state.get(part, {}).items():
            refuse_unknown(f"{name}.{part}, {item},", said, INNER_KEYS[part])
    containers: Mapping[str, Any] = state.get("containers", {})
    for container, programs in containers.items():
        if ("reload" in programs) != ("confirm" in programs):
            raise SiteError(f"{name}.containers, {container}, must have reload and confirm, or none")
    for pattern, rule in state.get("files", {}).items():
        where = f"{name}.files, {pattern},"
        for key, allowed in (("change", CHANGES), ("merge", ("json",))):
            if rule.get(key, allowed[0]) not in allowed:
                raise SiteError(f"{where} has {key} {rule[key]!r}: must be {' or '.join(allowed)}")
        mode = rule.get("mode", "0644")
        if not (isinstance(mode, str) and re.fullmatch(r"[0-7]{4}", mode)):
            raise SiteError(f'{where} has mode {mode!r}: must be four octal digits in quotes, as "0600"')
        if rule.get("change") == "reload" and not any(
            "reload" in programs for programs in containers.values()
        ):
            raise SiteError(f"{where} has change reload, but no container has a reload")


def rules_of(state: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return a role's rules for files; of those that mean a reload, with the containers it is for."""
    reloading = [name for name, programs in state.get("containers", {}).items() if "reload" in programs]
    return {
        pattern: {**rule, CONTAINER_RELOAD: reloading} if rule.get("change") == "reload" else dict(rule)
        for pattern, rule in state.get("files", {}).items()
    }
