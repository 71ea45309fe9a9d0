# SPDX-License-Identifier: Apache-2.0
"""Counts tasks and module executions of a run."""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: bench_counts
type: notification
short_description: Count tasks and module executions
description:
  - Appends one line to the file named by E(BENCH_COUNTS) for every task that starts (V(task)) and for every
    module that is executed on a node (V(module <host> <name>)).
requirements: [enabled by name]
"""

_MITOGEN = "ansible_mitogen.mixins"


class CallbackModule(CallbackBase):
    """Hooks the one function through which action plugins execute modules; workers inherit it by fork."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "bench_counts"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        """Open the file and hook Ansible's own action plugins."""
        super().__init__()
        # Short appends of several processes do not mix.
        self._file = os.open(os.environ["BENCH_COUNTS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._hooked: set[Any] = set()
        self._hook(ActionBase)

    def _hook(self, plugin: Any) -> None:
        if plugin in self._hooked:
            return
        self._hooked.add(plugin)
        execute, file = plugin._execute_module, self._file

        @functools.wraps(execute)
        def counted(action: Any, module_name: str | None = None, *args: Any, **kwargs: Any) -> Any:
            if action._connection.transport != "local":
                host = action._play_context.remote_addr
                os.write(file, f"module {host} {module_name or action._task.action}\n".encode())
            return execute(action, module_name, *args, **kwargs)

        plugin._execute_module = counted

    def v2_playbook_on_task_start(self, *_: Any, **__: Any) -> None:
        """Count a task; mitogen, loaded after the callbacks, executes modules in a function of its own."""
        if _MITOGEN in sys.modules:
            self._hook(sys.modules[_MITOGEN].ActionModuleMixin)
        os.write(self._file, b"task\n")
