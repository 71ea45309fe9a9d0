"""Starts the backup of every node and follows all of them in one process."""

import json
import time
from collections.abc import Mapping
from os import uname
from pathlib import Path
from typing import Any

from ansible.utils.display import Display

from aicluster.adapters.connection import ssh_arguments
from aicluster.adapters.node_action import NodeAction
from aicluster.adapters.restoring import show
from aicluster.backup import nightly


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module backup_nodes`."""

    PREDICTS = True

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Back up the nodes of the play that run the service `backup`."""
        hosts, play = self._task_vars["hostvars"], self._task_vars["ansible_play_hosts_all"]
        commands = {
            node["name"]: nightly.command(ssh_arguments(hosts[node["host"]]), uname().nodename)
            for node in options["nodes"]
            if "backup" in node["services"] and node["host"] in play
        }
        if not commands:
            return {"changed": False, "failed": True, "msg": "no node of this run runs the service backup"}
        if self._task.check_mode:
            return {"changed": True, "msg": f"would back up {', '.join(commands)}"}
        began = time.monotonic()
        outcomes = nightly.run(commands, Display().display)
        document = nightly.report(outcomes, time.monotonic() - began)
        if options["json_file"]:
            Path(options["json_file"]).write_text(json.dumps(document, indent=2) + "\n")
        lines = show("", nightly.summary(document))
        return {"changed": document["bytes"] > 0, "failed": not document["ok"], "msg": lines[-1]}
