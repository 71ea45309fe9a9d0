"""What actions share: their options and phases, one call of the node's half, the hold of this run."""

import base64
import json
from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import context
from ansible.errors import AnsibleActionFail
from ansible.parsing.plugin_docs import read_docstring
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import module_loader
from ansible.template import trust_as_template
from ansible.utils.vars import load_extra_vars

from ..engine import runs
from ..engine.desired import Desired, desired_state
from ..engine.node_program import sources
from ..engine.rendering import Renderer
from ..engine.scope import WHOLE_NODE, Scope
from ..errors import SiteError


def name_of(task_vars: Mapping[str, Any]) -> str:
    """Return the name of the node a task is for."""
    return str(task_vars.get("node_name") or task_vars["inventory_hostname"])


class NodeAction(ActionBase):
    """An action, mostly on one node; it does nothing in check mode unless it says that it predicts.

    Its options are those that the module of its name documents: they are written as in an argument_spec.
    """

    PREDICTS = False
    _task_vars: dict[str, Any]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Validate the options and act; an error of the package becomes Ansible's with the same words."""
        super().run(tmp, task_vars)
        self._task_vars = task_vars or {}
        documented = read_docstring(module_loader.find_plugin(self._load_name))["doc"]
        _, options = self.validate_argument_spec(argument_spec=documented.get("options", {}))
        if self._task.check_mode and not self.PREDICTS:
            return {"changed": False}
        try:
            return self.act(options)
        except SiteError as error:
            raise AnsibleActionFail(str(error)) from error

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Do what the action is for and return its result."""
        raise NotImplementedError

    def desired(self, scope: Scope = WHOLE_NODE) -> tuple[Renderer, Desired, dict[str, ChainMap[str, Any]]]:
        """Return the renderer of the node, its desired state within a scope, and its services' variables."""
        roles = Path(self._task_vars["role_path"]).parent
        given = load_extra_vars(self._loader)
        renderer = Renderer(self._templar, self._loader, trust_as_template, self._task_vars, roles, given)
        return renderer, *desired_state(renderer, scope)

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the node's half once; base64 needs no quoting inside the module's source."""
        encoded = base64.b64encode(json.dumps(request).encode()).decode()
        result: dict[str, Any] = self._execute_module(
            "stack_node", module_args={"request": encoded, "sources": sources()}, task_vars=self._task_vars
        )
        return result

    def change(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run the node's half of a step that changes the node, which this run holds meanwhile."""
        node, process = name_of(self._task_vars), runs.process_of_this_run()
        if runs.began(process) is None:
            # It would hold the node in the name of nobody, and work on it beside the next run.
            raise SiteError(f"the run of this task is gone: nothing was changed on {node}")
        me = runs.this_run(process, " ".join(Path(arg).name for arg in context.CLIARGS.get("args", ())))
        result = self.ask({**request, "run": me})
        if "held_by" in result and runs.is_dead(result["held_by"], me):
            result = self.ask({**request, "run": me, "over": result["held_by"]["run"]})
        if "held_by" in result:
            raise SiteError(runs.held_sentence(node, result["held_by"], result["lock"]))
        return result


class PhasedAction(NodeAction):
    """An action whose option `phase` names one of its methods."""

    PREDICTS = True

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Run one phase."""
        result: dict[str, Any] = getattr(self, f"_{options['phase']}")(options)
        return {"changed": False, **result}
