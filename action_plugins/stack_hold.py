# SPDX-License-Identifier: Apache-2.0
"""Holds the node for this run, or lets other runs change it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from aicluster.adapters.node_action import NodeAction, Options

VERBS = {"held": "hold", "released": "release"}


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_hold`."""

    OPTIONS: ClassVar[Options] = {"state": {"type": "str", "choices": list(VERBS), "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Hold or release."""
        return self.change(task_vars, {"verb": VERBS[options["state"]]})
