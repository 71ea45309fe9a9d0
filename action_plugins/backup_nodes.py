# SPDX-License-Identifier: Apache-2.0
"""Starts the backup of every node and follows all of them in one process."""

import json
import time
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from aicluster.adapters.connection import ssh_arguments
from aicluster.backup import nightly


class ActionModule(ActionBase):
    """Action plugin `backup_nodes`."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Back up the nodes of the play that run the service `backup`."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "nodes": {"type": "list", "elements": "dict", "required": True},
                "by": {"type": "str", "required": True},
                "json_file": {"type": "str", "default": ""},
            }
        )
        hosts = variables["hostvars"]
        commands = {
            node["name"]: nightly.command(ssh_arguments(hosts[node["host"]]), arguments["by"])
            for node in arguments["nodes"]
            if "backup" in node["services"] and node["host"] in variables["ansible_play_hosts_all"]
        }
        if not commands:
            return {"changed": False, "failed": True, "msg": "no node of this run runs the service backup"}
        if self._task.check_mode:
            return {"changed": True, "msg": f"would back up {', '.join(commands)}"}
        began = time.monotonic()
        outcomes = nightly.run(commands, Display().display)
        document = nightly.report(outcomes, time.monotonic() - began)
        if arguments["json_file"]:
            Path(arguments["json_file"]).write_text(json.dumps(document, indent=2) + "\n")
        lines = nightly.summary(document)
        for line in lines:
            Display().display(line)
        return {"changed": document["bytes"] > 0, "failed": not document["ok"], "msg": lines[-1]}
