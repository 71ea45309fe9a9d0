"""Asks the node once what differs from its desired state, and refuses a node with findings."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ansible.utils.display import Display

from aicluster.adapters.node_action import NodeAction
from aicluster.engine.desired import Desired
from aicluster.engine.facts import engine_changes, found_of, services_there, wanted_of
from aicluster.engine.login import ends_passwords, login_refused
from aicluster.engine.plan import make_plan
from aicluster.engine.requests import inspection
from aicluster.engine.scope import WHOLE_NODE, Scope, refuse_misplaced
from aicluster.engine.shown import file_diffs
from aicluster.preflight.node import node_findings
from aicluster.site.pins import pinned
from aicluster.site.rules import numbered


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module stack_plan`."""

    PREDICTS = True

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the plan."""
        renderer, desired, variables = self.desired()
        node, only = renderer.shared["cluster_node"]["name"], options["only"]
        refuse_misplaced(only, renderer.shared["cluster_node"], renderer.shared["cluster_nodes"])
        actual = self.ask(inspection(desired, self._task.diff))
        scope = WHOLE_NODE
        if only and "differing" in actual:
            scope = Scope(only, tuple(services_there(desired, actual)))
            renderer, desired, variables = self.desired(scope)
            actual = self.ask(inspection(desired, self._task.diff))
        if "differing" not in actual:
            return actual
        actual, predicted = scope.seen(actual), options["predicted"]
        if engine_changes(predicted):
            # What the engine says of a registry counts once it is as it will be.
            actual["conditions"]["images"] = dict.fromkeys(actual["conditions"]["images"])
        wanted_by_probe = {
            service: renderer.holds(provision["when"], variables[service], actual["probes"].get(service))
            for service, provision in desired.provisions.items()
            if "when" in provision
        }
        plan = make_plan(desired, actual, wanted_by_probe)
        for line in plan["lines"]:
            Display().display(f"{node:<6} {line}")
        for _, service, text in pinned([renderer.shared["cluster_node"]]):
            Display().warning(f"{service} on {node} {text}")
        plan["scope"] = asdict(scope)
        plan["engine_changes"] = engine_changes(predicted) or engine_changes(plan)
        plan["differing"] = actual["differing"]
        plan["wanted"] = wanted_of(desired, actual, only, predicted)
        plan["found"] = {**found_of(actual), "key_login": self._key_login(desired, actual)}
        plan["findings"] = node_findings(plan["found"], node, plan["wanted"])
        if plan["findings"] and options["refuse"]:
            nothing = "; nothing was changed on it."
            return {"failed": True, "msg": f"{node}: {numbered(plan['findings'], 'finding', nothing)}"}
        if self._task.check_mode:
            plan["changed"] = bool(plan["lines"])
            shown = file_diffs(desired.files, actual["differing"], actual["leftover"])
            plan["diff"] = shown if self._task.diff else []
        return plan

    def _key_login(self, desired: Desired, actual: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return who cannot log in with a key, and why, where this run is to end other logins.

        Through a connection other than Ansible's own `ssh` no key is tried: that one is named.
        """
        if not ends_passwords([item["path"] for item in actual["differing"]], desired.rules):
            return None
        # Not `transport`: others call themselves ssh, too, and have other options.
        by = str(self._connection.ansible_name)
        return login_refused(self._connection.get_option) if by.rpartition(".")[2] == "ssh" else {"by": by}
