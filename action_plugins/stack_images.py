# SPDX-License-Identifier: Apache-2.0
"""Pulls the images of a plan, before any file of a service is replaced."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aicluster.adapters.node_action import NodeAction, Options, name_of
from aicluster.engine.facts import pull_findings, refusal


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_images`."""

    OPTIONS: ClassVar[Options] = {"plan": {"type": "dict", "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Pull; fail with every image that cannot be had."""
        plan, node = options["plan"], name_of(task_vars)
        answer = self.change(task_vars, {"verb": "pull", "images": plan["images"]})
        if "images" not in answer:
            return answer
        if findings := pull_findings(plan, answer, node):
            kept = "its services and their files were not changed"
            return {"failed": True, "msg": refusal(node, findings, kept)}
        return {"changed": answer["changed"]}
