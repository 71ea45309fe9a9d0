# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_plan.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_plan
short_description: Ask a node once what differs from its desired state
description:
  - Renders everything that belongs on the node, asks the node once what differs, and returns the work to do.
  - Fails with every finding about the node, before anything is changed there.
options:
  refuse: {description: "Whether to fail with findings, or only to return them.", type: bool, default: true}
  only:
    description: The one role to bring to its desired state; by default all of the node.
    type: str
    default: ""
  predicted:
    description: In check mode, the plan of the role before V(only), which may have been about the engine.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, description: The same question; the plan is the prediction.}
  diff_mode: {support: full, description: In check mode it shows each changed file that is not a secret.}
author: [AI cluster toolkit authors]
"""

EXAMPLES = r"""
- name: Inspect the node once for differences from its desired state
  stack_plan:
  register: __stack_plan
"""

RETURN = r"""
engine_changes:
  description: Whether this role, or one predicted before it, changes the engine.
  type: bool
  returned: success
scope:
  description: The role the plan is about (only), and the services that are there without it (there).
  type: dict
  returned: success
facts: {description: The few facts of the node that the toolkit uses., type: dict, returned: success}
prepare:
  description: Work below the containers (repair, packages, files, remove, reactions, units, daemon_reload).
  type: dict
  returned: success
prepare_needed:
  description: Whether RV(prepare), RV(engine) or RV(images) has work.
  type: bool
  returned: success
engine:
  description: What of RV(prepare), in its shape, must be done before images are pulled.
  type: dict
  returned: success
images: {description: The images that are missing on the node., type: list, returned: success}
owed:
  description: What the node owes its containers once its files are replaced, as pairs of verb and container.
  type: list
  returned: success
deploy:
  description:
    - Work on containers (containers, orphans, create_only, unexpected, recreate, reloads, provision, empty,
      wait_for_health).
  type: dict
  returned: success
deploy_needed: {description: Whether RV(deploy) has work., type: bool, returned: success}
inactive: {description: Services of inactive profiles., type: list, returned: success}
lines: {description: "The plan for people, one difference a line.", type: list, returned: success}
findings: {description: "The findings about the node, one sentence each.", type: list, returned: success}
differing: {description: "The files that differ, as the node described them.", type: list, returned: success}
wanted: {description: What the preflight compares the node with., type: dict, returned: success}
found: {description: The facts that the preflight checks., type: dict, returned: success}
"""
