# SPDX-License-Identifier: Apache-2.0
"""Restores of one node: chooses it, shows what would change, starts its program and follows that."""

import shlex
import time
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader
from ansible.utils.display import Display

from aicluster.backup import nightly, restore
from aicluster.errors import SiteError
from aicluster.verify.report import RUNNER, lines_of, node_results

PAUSE_S = 10
OFF_SITE, READING = "offsite", ("list", "plan", "apply")
HANDED = "/run/aicluster/offsite.json"


class ActionModule(ActionBase):
    """Action plugin `restore_node`: choose, list, plan, apply, verify."""

    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run one phase."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _, arguments = self.validate_argument_spec(
            argument_spec={
                "phase": {
                    "type": "str",
                    "choices": ["choose", "list", "plan", "apply", "verify"],
                    "required": True,
                },
                "nodes": {"type": "list", "elements": "dict", "default": []},
                "node": {"type": "raw", "default": ""},
                "service": {"type": "str", "default": ""},
                "options": {"type": "dict", "default": {}},
                "by": {"type": "str", "default": ""},
                "offsite": {"type": "str", "default": ""},
                "offsite_environment": {"type": "dict", "default": {}, "no_log": True},
            }
        )
        try:
            if arguments["options"].get("copy") == OFF_SITE and arguments["phase"] in READING:
                self._hand_over(arguments)
            result: dict[str, Any] = getattr(self, f"_{arguments['phase']}")(arguments)
        except SiteError as error:
            raise AnsibleActionFail(str(error)) from error
        return {"changed": False, **result}

    def _ask(self, command: str) -> dict[str, Any]:
        """Run a command on the node, escalated as a module is."""
        answer: dict[str, Any] = self._low_level_execute_command(command)
        return answer

    def _hand_over(self, arguments: dict[str, Any]) -> None:
        """Leave the node, for the program that starts next, what opens the off-site repository."""
        data = restore.off_site(
            arguments["offsite"], arguments["offsite_environment"], arguments["node"]["name"]
        )
        command = f"umask 077 && mkdir -p -m 755 {Path(HANDED).parent} && cat > {HANDED}"
        answer = self._low_level_execute_command(command, in_data=data.encode())
        if answer["rc"]:
            raise SiteError(f"restore: {HANDED} of {arguments['node']['name']}: {answer['stderr'].strip()}")

    def _choose(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Name the hosts this run is about; everything that the description can refuse is refused here."""
        if arguments["service"]:
            restore.words(arguments["service"], arguments["options"])
        hosts = self._variables["ansible_play_hosts_all"]
        return {
            "hosts": restore.targets(arguments["nodes"], hosts, arguments["service"], str(arguments["node"]))
        }

    def _list(self, _arguments: dict[str, Any]) -> dict[str, Any]:
        answer = self._ask(restore.command("list", []))
        if answer["rc"]:
            return {"failed": True, "msg": answer["stderr"].strip() or answer["stdout"].strip()}
        lines = restore.listed(answer["stdout"])
        for line in lines:
            Display().display(line)
        return {"lines": lines}

    def _plan(self, arguments: dict[str, Any]) -> dict[str, Any]:
        words = restore.words(arguments["service"], arguments["options"])
        answer = self._ask(restore.command("plan", words))
        name = arguments["node"]["name"]
        if answer["rc"]:
            last = (answer["stderr"].strip() or answer["stdout"].strip()).splitlines()[-1]
            return {"failed": True, "msg": restore.failure(name, restore.REFUSED, last)}
        for line in answer["stdout"].splitlines():
            Display().display(f"{name}: {line}")
        return {"lines": answer["stdout"].splitlines()}

    def _apply(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name = arguments["node"]["name"]
        ssh = filter_loader.get("ssh_command").j2_function(
            self._variables["hostvars"][arguments["node"]["host"]]
        )
        words = [*restore.words(arguments["service"], arguments["options"]), "--by", arguments["by"]]
        argv = restore.over_ssh(shlex.split(ssh), restore.command("apply", words))
        code, last = nightly.follow(argv, lambda line: Display().display(f"{name}: {line}"))
        if code:
            return {"changed": True, "failed": True, "msg": restore.failure(name, code, last)}
        return {"changed": True}

    def _verify(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Test the restored service, or all of the node."""
        node, service = arguments["node"], arguments["service"]
        services = list(node["services"]) if service == restore.ALL else [service]
        for again in (True, True, True, False):
            answer = self._ask(shlex.join([RUNNER, "--json", *services]))
            results = node_results(services, answer)
            failed = [result["service"] for result in results if result["state"] == "failed"]
            if not (failed and again):
                break
            # Whoever used what was restored has lost its connections, and makes new ones.
            time.sleep(PAUSE_S)
        for line in lines_of(node["name"], results):
            Display().display(line)
        if failed:
            return {
                "failed": True,
                "msg": f"restored, but {', '.join(failed)} on {node['name']} failed its check",
            }
        return {"results": results}
