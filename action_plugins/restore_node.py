"""Restores of one node: chooses it, shows what would change, starts its program and follows that."""

import shlex
import time
from collections.abc import Mapping
from os import uname
from pathlib import Path
from typing import Any

from aicluster.adapters.connection import ssh_arguments
from aicluster.adapters.restoring import RestoringAction, show
from aicluster.backup import nightly, restore
from aicluster.errors import SiteError
from aicluster.verify.report import RUNNER, lines_of, node_results

PAUSE_S = 10
OFF_SITE, READING = "offsite", ("show", "apply")
HANDED = "/run/aicluster/offsite.json"


class ActionModule(RestoringAction):
    """See the module's documentation: `ansible-doc -t module restore_node`."""

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Run one phase, after the node was handed what opens the off-site repository if that is read."""
        if options["options"].get("copy") == OFF_SITE and options["phase"] in READING:
            self._hand_over(options)
        return super().act(options)

    def _hand_over(self, options: Mapping[str, Any]) -> None:
        """Leave the node, for the program that starts next, what opens the off-site repository."""
        node = options["node"]["name"]
        data = restore.off_site(options["offsite"], options["offsite_environment"], node)
        command = f"umask 077 && mkdir -p -m 755 {Path(HANDED).parent} && cat > {HANDED}"
        answer = self._low_level_execute_command(command, in_data=data.encode())
        if answer["rc"]:
            raise SiteError(f"restore: {HANDED} of {node}: {answer['stderr'].strip()}")

    def _choose(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Name the hosts this run is about."""
        service, hosts = options["service"], self._task_vars["ansible_play_hosts_all"]
        return {"hosts": restore.targets(options["nodes"], hosts, service, str(options["node"]))}

    def _show(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Show what would change, without a service what there is."""
        node, service = options["node"], options["service"]
        verb, words = ("plan", restore.words(service, options["options"])) if service else ("list", [])
        show(node["name"], self.answer(node, verb, words).splitlines())
        return {}

    def _apply(self, options: Mapping[str, Any]) -> dict[str, Any]:
        node, words = options["node"], restore.words(options["service"], options["options"])
        ssh = ssh_arguments(self._task_vars["hostvars"][node["host"]])
        argv = nightly.command(ssh, uname().nodename, ["apply", *words], restore.PROGRAM)
        code, last = nightly.follow(argv, lambda line: show(node["name"], [line]))
        failed = {"failed": True, "msg": restore.failure(node["name"], code, last)} if code else {}
        return {"changed": True, **failed}

    def _verify(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Test the restored service, or all of the node."""
        node, service = options["node"], options["service"]
        services = list(node["services"]) if service == restore.ALL else [service]
        for again in (True, True, True, False):
            answer = self._low_level_execute_command(shlex.join([RUNNER, "--json", *services]))
            results = node_results(services, answer)
            failed = [result["service"] for result in results if result["state"] == "failed"]
            if not (failed and again):
                break
            # Whoever used what was restored has lost its connections, and makes new ones.
            time.sleep(PAUSE_S)
        show("", lines_of(node["name"], results))
        if failed:
            message = f"restored, but {', '.join(failed)} on {node['name']} failed its check"
            return {"failed": True, "msg": message}
        return {"results": results}
