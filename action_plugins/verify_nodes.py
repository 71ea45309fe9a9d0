"""Verify of the whole cluster: one question per node, one report for people, one for programs.

`phase: begin` (once) names the run. `phase: ask` runs the node's own `aicluster_verify.py` and shows what it
says. `phase: report` (once) adds up: what failed, what caused it, what to do next.
"""

import json
import shlex
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants, context

from aicluster.adapters.connection import ssh_arguments
from aicluster.adapters.node_action import PhasedAction
from aicluster.adapters.restoring import show
from aicluster.site.commands import ansible_command, ssh_command
from aicluster.verify.report import RUNNER, lines_of, node_results, summary, verdict_lines


class ActionModule(PhasedAction):
    """See the module's documentation: `ansible-doc -t module verify_nodes`."""

    def _begin(self, _options: Mapping[str, Any]) -> dict[str, Any]:
        hosts = list(self._task_vars["ansible_play_hosts_all"])
        return {"run_id": f"run-{uuid.uuid4().hex[:12]}", "began": time.time(), "hosts": hosts}

    def _ask(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Ask one node; a node that cannot be reached raises, and Ansible records it."""
        node, begun, hosts = options["node"], options["begun"], self._task_vars["hostvars"]
        together = ",".join(str(hosts[host]["node_name"]) for host in begun["hosts"])
        # What Ansible would escalate for a module, it does for this command, too.
        answer: dict[str, Any] = self._low_level_execute_command(
            f"{RUNNER} --json --run-id {begun['run_id']} --together {shlex.quote(together)}"
        )
        results = node_results(list(node["services"]), answer)
        show("", lines_of(str(node["name"]), results))
        return {"results": results}

    def _report(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Add up what all nodes answered; fails if a service has failed."""
        nodes = []
        begun, hosts = options["begun"], self._task_vars["hostvars"]
        asked = [node for node in options["nodes"] if node["host"] in begun["hosts"]]
        for node in asked:
            answer = hosts[node["host"]].get("__verify", {})
            results = answer.get("results")
            if results is None:
                results = node_results(list(node["services"]), answer)
                show("", lines_of(str(node["name"]), results))
            nodes.append({"node": node["name"], "address": node["address"], "services": results})
        content = {
            **summary(nodes, {node["name"]: node["services"] for node in asked}),
            "run_id": begun["run_id"],
            "seconds": round(time.time() - begun["began"], 1),
            "nodes": nodes,
        }
        if options["json_file"]:
            Path(options["json_file"]).write_text(json.dumps(content, indent=2) + "\n")
        # Of all nodes: a check may say what to do on one that is not asked.
        ways = {one["name"]: ssh_command(ssh_arguments(hosts[one["host"]])) for one in options["nodes"]}
        playbook = ansible_command(self._task_vars["ansible_inventory_sources"], context.CLIARGS, constants)
        said = show("", verdict_lines(content, ways, playbook))
        return {"failed": not content["ok"], "msg": said[-1]}
