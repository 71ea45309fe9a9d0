# SPDX-License-Identifier: Apache-2.0
"""Backs up the services of a plan whose image changes, and has the node remember what they were."""

import time
from collections.abc import Mapping
from os import uname
from typing import Any, ClassVar

from ansible.utils.display import Display

from aicluster.adapters.connection import ssh_arguments
from aicluster.adapters.node_action import NodeAction, Options, name_of
from aicluster.backup import nightly, rollback
from aicluster.errors import SiteError


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_backup`."""

    OPTIONS: ClassVar[Options] = {"plan": {"type": "dict", "required": True}}

    def act(self, options: Mapping[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """Make one snapshot after the other; fail at the first that cannot be made."""
        plan, node = options["plan"], name_of(task_vars)
        snapshots = {}
        for service in plan["backups"]:
            ssh = ssh_arguments(task_vars["hostvars"][task_vars["inventory_hostname"]])
            argv = nightly.command(ssh, uname().nodename, ["before", service])
            outcome, code = nightly.followed(node, argv, Display().display)
            if code:
                why = "; ".join(outcome.failures)
                raise SiteError(rollback.no_backup(node, service, plan["before"][service], why))
            snapshots[service] = outcome.end["made"]
        before = rollback.remembered(plan["before"], snapshots, time.time())
        return {**self.change(task_vars, {"verb": "remember", "before": before}), "before": before}
