"""Runs the module `ollama_model`, watches the pulls it begins, and prints how far they are.

A module cannot print while it runs, and a model of 20 GB takes an hour. So its background process pulls, and
this plugin calls it again and again until that has ended. A task with nothing to do is one module call.
"""

from itertools import chain, repeat
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from aicluster.adapters.node_action import name_of

display = Display()

# Seconds for which each call watches: a first word soon, then one a minute.
WATCHES = (0.0, 15.0, 30.0, 60.0)


class ActionModule(ActionBase):
    """See the module's documentation: `ansible-doc -t module ollama_model`."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call the module until all is done, or once if nobody waits; return its last result."""
        variables = task_vars or {}
        super().run(tmp, variables)
        node = name_of(variables)
        watches = chain(WATCHES, repeat(WATCHES[-1]))
        said = 0
        while True:
            watching = {**self._task.args, "watch_s": next(watches)}
            result: dict[str, Any] = self._execute_module(module_args=watching, task_vars=variables)
            # A failure need not say that it has finished.
            finished = result.get("finished", True)
            if not finished and not self._task.args["wait"]:
                display.display(f"  {node}: pulls beside the rest of this run")
                return result
            messages = result.get("messages", [])
            for message in messages[said:]:
                display.display(f"  {node}: {message}")
            said = len(messages)
            if finished:
                return result
            display.display(f"  {node}: pulling {result['progress']}")
