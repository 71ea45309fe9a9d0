# SPDX-License-Identifier: Apache-2.0
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
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader
from ansible.utils.display import Display

from aicluster.site.commands import ansible_command
from aicluster.verify.report import RUNNER, lines_of, node_results, summary, verdict_lines


class ActionModule(ActionBase):
    """Action plugin `verify_nodes`: begin, ask, report."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one phase."""
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "phase": {"type": "str", "choices": ["begin", "ask", "report"], "required": True},
                "begun": {"type": "dict", "default": {}},
                "node": {"type": "dict", "default": {}},
                "nodes": {"type": "list", "elements": "dict", "default": []},
                "json_file": {"type": "str", "default": ""},
            }
        )
        if arguments["phase"] == "begin":
            return {
                "changed": False,
                "run_id": f"run-{uuid.uuid4().hex[:12]}",
                "began": time.time(),
                "hosts": list((task_vars or {})["ansible_play_hosts_all"]),
            }
        if arguments["phase"] == "ask":
            return self._ask(arguments["node"], arguments["begun"], task_vars or {})
        return self._report(task_vars or {}, arguments)

    def _ask(
        self, node: Mapping[str, Any], begun: Mapping[str, Any], variables: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Ask one node; a node that cannot be reached raises, and Ansible records it."""
        together = ",".join(str(variables["hostvars"][host]["node_name"]) for host in begun["hosts"])
        # What Ansible would escalate for a module, it does for this command, too.
        answer: dict[str, Any] = self._low_level_execute_command(
            f"{RUNNER} --json --run-id {begun['run_id']} --together {shlex.quote(together)}"
        )
        results = node_results(list(node["services"]), answer)
        for line in lines_of(str(node["name"]), results):
            Display().display(line)
        return {"changed": False, "results": results}

    def _report(self, variables: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Add up what all nodes answered; fails if a service has failed."""
        nodes = []
        begun = arguments["begun"]
        asked = [node for node in arguments["nodes"] if node["host"] in begun["hosts"]]
        for node in asked:
            answer = variables["hostvars"][node["host"]].get("__verify", {})
            results = answer.get("results")
            if results is None:
                results = node_results(list(node["services"]), answer)
                for line in lines_of(str(node["name"]), results):
                    Display().display(line)
            nodes.append({"node": node["name"], "address": node["address"], "services": results})
        content = {
            **summary(nodes, {node["name"]: node["services"] for node in asked}),
            "run_id": begun["run_id"],
            "seconds": round(time.time() - begun["began"], 1),
            "nodes": nodes,
        }
        if arguments["json_file"]:
            Path(arguments["json_file"]).write_text(json.dumps(content, indent=2) + "\n")
        # Of all nodes: a check may say what to do on one that is not asked.
        ssh_command, hosts = filter_loader.get("ssh_command").j2_function, variables["hostvars"]
        ways = {node["name"]: ssh_command(hosts[node["host"]]) for node in arguments["nodes"]}
        playbook = ansible_command(variables["ansible_inventory_sources"], context.CLIARGS, constants)
        said = verdict_lines(content, ways, playbook)
        for line in said:
            Display().display(line)
        return {"changed": False, "failed": not content["ok"], "msg": said[-1]}
