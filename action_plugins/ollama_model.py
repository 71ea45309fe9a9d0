# SPDX-License-Identifier: Apache-2.0
"""Runs the module `ollama_model` in slices and prints how far a pull is between them.

A module cannot print while it runs, and a model of 20 GB takes an hour. Ollama keeps what it has when the
client hangs up and goes on from there, so the module returns every now and then and is called again.
A task that has nothing to pull is one module call, as without this plugin.

With `async` and `poll: 0` the module runs in one piece and nobody waits; a later task with the same
`progress_file` watches it, reports what it did and says what went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, repeat
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

GIGA = 1_000_000_000
MEGA = 1_000_000
LISTS = ("removed", "pulled", "aliased", "checked", "copied", "given_up")


def slices() -> Iterator[float]:
    """Seconds of each call: a first word soon, then a line a minute; every call costs the pull 2 to 3 s."""
    return chain((15.0, 30.0), repeat(60.0))


def progress_line(progress: Mapping[str, Any]) -> str:
    """Return 'gpt-oss: 34 % of 13.8 GB, 22.1 MB/s, 7 min left', with 'from <mirror>' behind the name.

    progress: {model, origin: mirror or "", completed: bytes, total: bytes or 0 if unknown, rate: bytes per
    second}.
    """
    completed, total, rate = progress["completed"], progress["total"], progress["rate"]
    model = f"{progress['model']} from {progress['origin']}" if progress.get("origin") else progress["model"]
    if not total:
        return f"{model}: about to start"
    size = f"{model}: {100 * completed // total} % of {total / GIGA:.1f} GB"
    if rate < 1:
        return size
    minutes = (total - completed) / rate / 60
    left = f"{minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
    return f"{size}, {rate / MEGA:.1f} MB/s, {left}"


def done_lines(call: Mapping[str, Any]) -> list[str]:
    """Return what one call has to tell besides its progress: models that are there, mirrors that failed."""
    origins = dict(text.split(" from ", 1) for text in call.get("copied", []))
    there = [
        f"{name} is there" + (f", copied from {origins[name]}" if name in origins else "")
        for name in call.get("pulled", [])
    ]
    return [*(f"not from a mirror: {one['why']}" for one in call.get("given_up", [])), *there]


def news(former: Mapping[str, Any], latest: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the lists of a call without what is in those of an earlier one."""
    return {key: [one for one in latest.get(key, []) if one not in former.get(key, [])] for key in LISTS}


def settle(models: list[dict[str, Any]], checked: list[str]) -> list[dict[str, Any]]:
    """Return the models with those a former slice has refreshed turned from `latest` to `present`."""
    return [{**model, "state": "present"} if model.get("name") in checked else model for model in models]


def merge(former: dict[str, Any], latest: dict[str, Any]) -> dict[str, Any]:
    """Return one result for two consecutive calls: lists joined, `before` of the first, else the last's.

    What a call that only watched has said is said again by the one that takes over.
    """
    merged = {**latest, "changed": bool(former.get("changed")) or bool(latest.get("changed"))}
    for key in LISTS:
        merged[key] = [*former.get(key, []), *news(former, latest)[key]]
    if "diff" in former and "diff" in latest:
        merged["diff"] = {**latest["diff"], "before": former["diff"]["before"]}
    return merged


class ActionModule(ActionBase):
    """See the module's documentation: `ansible-doc -t module ollama_model`."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the module until it has finished, or begin to; return the merged result."""
        variables = task_vars or {}
        super().run(tmp, variables)
        arguments = dict(self._task.args)
        node = variables.get("node_name") or variables.get("inventory_hostname", "")
        if self._task.async_val:
            return self._begin(arguments, variables, node)
        result: dict[str, Any] = {}
        for seconds in slices():
            former = result
            call = self._execute_module(
                module_name="ollama_model",
                module_args={"slice_s": seconds, **arguments},
                task_vars=variables,
            )
            result = merge(former, call) if former else call
            if not self._task.check_mode:
                for line in done_lines(news(former, call)):
                    display.display(f"  {node}: {line}")
            if call.get("failed") or call.get("finished", True):
                break
            display.display(f"  {node}: pulling {progress_line(call['progress'])}")
            arguments["models"] = settle(arguments["models"], call["checked"])
            arguments["avoid"] = [*arguments.get("avoid", []), *(one["name"] for one in call["given_up"])]
        result.pop("progress", None)
        return result

    def _begin(self, arguments: dict[str, Any], variables: dict[str, Any], node: str) -> dict[str, Any]:
        """Start a call nobody waits for; raises AnsibleActionFail if its work could not be found again."""
        if self._task.poll or not arguments.get("progress_file"):
            raise AnsibleActionFail(
                "ollama_model: async must come with `poll: 0` and `progress_file`; add them"
            )
        begun: dict[str, Any] = self._execute_module(
            module_name="ollama_model",
            module_args={**arguments, "slice_s": 0, "background": True},
            task_vars=variables,
            wrap_async=True,
        )
        if not begun.get("failed"):
            display.display(f"  {node}: pulls beside the rest of this run")
        return begun
