# SPDX-License-Identifier: Apache-2.0
"""Asks the node once more after a run, and ends the run's hold."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aicluster.adapters.node_action import NodeAction, Options, name_of
from aicluster.adapters.rendering import desired_of
from aicluster.engine.plan import make_plan
from aicluster.engine.requests import inspection, provisioned
from aicluster.engine.scope import Scope
from aicluster.errors import SiteError


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_verify`."""

    OPTIONS: ClassVar[Options] = {"plan": {"type": "dict", "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Fail with everything that still differs."""
        done, scope = options["plan"], Scope.of_plan(options["plan"])
        _, desired, _ = desired_of(self, task_vars, scope)
        handled = [*done["prepare"]["reactions"], *done["owed"]] if scope.only else None
        request = inspection(desired, self._task.diff, provisioned(desired, done), handled)
        actual = self.change(task_vars, request)
        if "differing" not in actual:
            return actual
        plan = make_plan(desired, scope.seen(actual), {})
        if plan["lines"]:
            raise SiteError(
                f"{name_of(task_vars)} still differs after this run: {'; '.join(plan['lines'])}. "
                f"Run the playbook again; if the same lines return, something on the node undoes them"
            )
        return {"changed": False, "facts": plan["facts"]}
