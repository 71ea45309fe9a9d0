# SPDX-License-Identifier: Apache-2.0
"""The desired state of the node a task is for, rendered with Ansible's templar."""

from collections import ChainMap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from ..engine.desired import Desired, desired_state
from ..engine.rendering import Renderer
from ..engine.scope import WHOLE_NODE, Scope


def desired_of(
    action: ActionBase, task_vars: Mapping[str, Any], scope: Scope = WHOLE_NODE
) -> tuple[Renderer, Desired, dict[str, ChainMap[str, Any]]]:
    """Return the renderer of a node, its desired state within a scope, and its services' variables."""
    roles = Path(task_vars["role_path"]).parent
    renderer = Renderer(action._templar, action._loader, trust_as_template, task_vars, roles)
    return renderer, *desired_state(renderer, scope)
