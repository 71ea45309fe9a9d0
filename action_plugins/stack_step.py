"""Carries out one step of a run that changes a node, which the run holds meanwhile."""

import time
from collections.abc import Mapping
from os import uname
from typing import Any

from ansible.errors import AnsibleConnectionFailure
from ansible.utils.display import Display

from aicluster.adapters.connection import ssh_arguments
from aicluster.adapters.node_action import PhasedAction, name_of
from aicluster.backup import nightly, rollback
from aicluster.engine.declared import TRIAL
from aicluster.engine.facts import pull_findings, to_record
from aicluster.engine.plan import make_plan
from aicluster.engine.requests import delivery, inspection, provisioned
from aicluster.engine.scope import Scope
from aicluster.engine.shown import file_diffs, masked
from aicluster.errors import SiteError
from aicluster.site.rules import numbered


class ActionModule(PhasedAction):
    """See the module's documentation: `ansible-doc -t module stack_step`."""

    PREDICTS = False

    def _hold(self, _options: Mapping[str, Any]) -> dict[str, Any]:
        return self.change({"verb": "hold"})

    def _release(self, _options: Mapping[str, Any]) -> dict[str, Any]:
        return self.change({"verb": "release"})

    def _restore(self, _options: Mapping[str, Any]) -> dict[str, Any]:
        return self.change({"verb": "restore"})

    def _record(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self.change({"verb": "record", **to_record(options["plan"])})

    def _handled(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Cross out what was done; what is taken on trial is confirmed over a connection that is new."""
        part = options["plan"][options["part"]]
        trials = [program for verb, program in part["reactions"] if verb == TRIAL]
        request = {"verb": "handled", "reactions": part["reactions"], "trials": trials}
        if not trials:
            return self.change(request)
        # In one task: between two of them a node waits for all others, and a trial is short.
        begun = self.change({"verb": "begin", "trials": trials})
        if begun.get("failed"):
            return begun
        self._connection.reset()
        try:
            return self.change(request)
        except AnsibleConnectionFailure as lost:
            message = (
                f"new connection to {name_of(self._task_vars)} with its new firewall: {lost}: must work, or "
                "nobody confirms the rules and the former ones come back within 60 s; add this machine's "
                "address, as the node sees it, to site_operators in group_vars/all/site.yml"
            )
            return {"failed": True, "msg": message}

    def _reload(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return self.change({"verb": "reload", "reloads": options["plan"]["deploy"]["reloads"]})

    def _pull(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Pull; fail with every image that cannot be had."""
        plan, node = options["plan"], name_of(self._task_vars)
        answer = self.change({"verb": "pull", "images": plan["images"]})
        if "images" not in answer:
            return answer
        if findings := pull_findings(plan, answer, node):
            kept = "; its services and their files were not changed."
            return {"failed": True, "msg": f"{node}: {numbered(findings, 'finding', kept)}"}
        return {"changed": answer["changed"]}

    def _backup(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Make one snapshot after the other; fail at the first that cannot be made."""
        plan, node = options["plan"], name_of(self._task_vars)
        ssh = ssh_arguments(self._task_vars["hostvars"][self._task_vars["inventory_hostname"]])
        snapshots = {}
        for service in plan["backups"]:
            argv = nightly.command(ssh, uname().nodename, ["before", service])
            outcome, code = nightly.followed(node, argv, Display().display)
            if code:
                why = "; ".join(outcome.failures)
                raise SiteError(rollback.no_backup(node, service, plan["before"][service], why))
            snapshots[service] = outcome.end["made"]
        before = rollback.remembered(plan["before"], snapshots, time.time())
        return self.change({"verb": "remember", "before": before})

    def _deliver(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Send the files that differ; this renders them again."""
        plan, part = options["plan"], options["part"]
        renderer, desired, _ = self.desired(Scope.of_plan(plan))
        result = self.change(delivery(desired, plan, part))
        if self._task.diff:
            result["diff"] = file_diffs(desired.files, plan["differing"], plan[part]["remove"])
        if "msg" in result:
            result["msg"] = masked(result["msg"], renderer.shared["site_secrets"])
        return result

    def _verify(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Fail with everything that still differs."""
        done, scope = options["plan"], Scope.of_plan(options["plan"])
        _, desired, _ = self.desired(scope)
        handled = [*done["prepare"]["reactions"], *done["owed"]] if scope.only else None
        request = inspection(desired, self._task.diff, provisioned(desired, done), handled)
        actual = self.change(request)
        if "differing" not in actual:
            return actual
        if lines := make_plan(desired, scope.seen(actual), {})["lines"]:
            raise SiteError(
                f"{name_of(self._task_vars)} still differs after this run: {'; '.join(lines)}. "
                f"Run the playbook again; if the same lines return, something on the node undoes them"
            )
        return {}
