# SPDX-License-Identifier: Apache-2.0
"""Runs the module `ollama_model`, watches the pulls it begins, and prints how far they are.

A module cannot print while it runs, and a model of 20 GB takes an hour. So its background process pulls, and
this plugin calls it again and again until that has ended. A task with nothing to do is one module call.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, repeat
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

GIGA = 1_000_000_000
MEGA = 1_000_000
# Seconds between two lines: a first word soon, then one a minute.
WATCHES = (15.0, 30.0, 60.0)


def progress_line(progress: Mapping[str, Any]) -> str:
    """Return 'gpt-oss: 34 % of 13.8 GB, 22.1 MB/s, 7 min left', with 'from <mirror>' behind the name.

    progress: {model, origin: mirror or "", completed: bytes, total: bytes or 0 if unknown, rate: bytes per
    second}.
    """
    completed, total, rate = progress["completed"], progress["total"], progress["rate"]
    model = f"{progress['model']} from {progress['origin']}" if progress["origin"] else progress["model"]
    if not total:
        return f"{model}: about to start"
    size = f"{model}: {100 * completed // total} % of {total / GIGA:.1f} GB"
    if rate < 1:
        return size
    minutes = (total - completed) / rate / 60
    left = f"{minutes:.0f} min left" if minutes >= 1 else "less than a minute left"
    return f"{size}, {rate / MEGA:.1f} MB/s, {left}"


def done_lines(result: Mapping[str, Any]) -> list[str]:
    """Return what a result has to tell besides its progress: mirrors that failed, models that are there."""
    origins = dict(text.split(" from ", 1) for text in result.get("copied", []))
    return [f"not from a mirror: {why}" for why in result.get("given_up", [])] + [
        f"{name} is there" + (f", copied from {origins[name]}" if name in origins else "")
        for name in result.get("pulled", [])
    ]


def goes_on(result: Mapping[str, Any]) -> bool:
    """Tell whether the background process is still at work."""
    return not result.get("failed") and not result.get("finished", True)


class ActionModule(ActionBase):
    """See the module's documentation: `ansible-doc -t module ollama_model`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the module until all is done, or once if nobody waits; return its last result."""
        variables = task_vars or {}
        super().run(tmp, variables)
        node = variables.get("node_name") or variables.get("inventory_hostname", "")
        result: dict[str, Any] = self._execute_module(task_vars=variables)
        if goes_on(result) and not boolean(self._task.args.get("wait", True)):
            display.display(f"  {node}: pulls beside the rest of this run")
            return result
        watches = chain(WATCHES, repeat(WATCHES[-1]))
        told: list[str] = []
        while True:
            for line in [] if self._task.check_mode else done_lines(result):
                if line not in told:
                    told.append(line)
                    display.display(f"  {node}: {line}")
            if not goes_on(result):
                return result
            watching = {**self._task.args, "watch_s": next(watches)}
            result = self._execute_module(module_args=watching, task_vars=variables)
            if goes_on(result):
                display.display(f"  {node}: pulling {progress_line(result['progress'])}")
