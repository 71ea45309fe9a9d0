# SPDX-License-Identifier: Apache-2.0
"""Delivers the files of a plan, and keeps what the node remembers of them up to date."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aicluster.adapters.node_action import NodeAction, Options
from aicluster.adapters.rendering import desired_of
from aicluster.engine.diffs import file_diffs, masked
from aicluster.engine.facts import to_record
from aicluster.engine.requests import delivery
from aicluster.engine.scope import Scope


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_files`."""

    OPTIONS: ClassVar[Options] = {
        "phase": {"type": "str", "choices": ["record", "deliver", "handled", "restore"], "required": True},
        "part": {"type": "str", "choices": ["prepare", "engine"], "default": "prepare"},
        "plan": {"type": "dict", "default": {}},
    }

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Carry out the phase; only one of them renders the files again."""
        phase, plan, part = options["phase"], options["plan"], options["part"]
        if phase == "deliver":
            return self._deliver(plan, part, task_vars)
        request: dict[str, Any] = {"verb": phase}
        if phase == "record":
            request |= to_record(plan)
        elif phase == "handled":
            request["reactions"] = plan[part]["reactions"]
        return self.change(task_vars, request)

    def _deliver(self, plan: Mapping[str, Any], part: str, task_vars: dict[str, Any]) -> dict[str, Any]:
        renderer, desired, _ = desired_of(self, task_vars, Scope.of_plan(plan))
        result = self.change(task_vars, delivery(desired, plan, part))
        if self._task.diff:
            result["diff"] = file_diffs(desired.files, plan["differing"], plan[part]["remove"])
        if "msg" in result:
            result["msg"] = masked(result["msg"], renderer.shared["site_secrets"])
        return result
