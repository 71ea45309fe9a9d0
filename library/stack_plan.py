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
  only: {description: The one role to bring to its desired state; by default all., type: str, default: ""}
  predicted: {description: "In check mode, the plan of the role before V(only).", type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Inspect the node once for differences from its desired state
  stack_plan:
  register: __stack_plan
"""

RETURN = r"""
engine_changes: {description: "Whether this role, or one predicted, changes the engine.", type: bool}
scope: {description: The role of the plan (only) and the services there without it (there)., type: dict}
facts: {description: The few facts of the node that the toolkit uses., type: dict}
prepare:
  description: Work below the containers (repair, packages, files, remove, reactions, units, daemon_reload).
  type: dict
prepare_needed: {description: "Whether RV(prepare), RV(engine) or RV(images) has work.", type: bool}
engine: {description: "What of RV(prepare), in its shape, must be done before images are pulled.", type: dict}
images: {description: The images that are missing on the node., type: list}
owed: {description: Pairs of verb and container that are due once the files are replaced., type: list}
deploy:
  description:
    - Work on containers (containers, orphans, create_only, unexpected, recreate, reloads, provision, empty,
      wait_for_health).
  type: dict
deploy_needed: {description: Whether RV(deploy) has work., type: bool}
inactive: {description: Services of inactive profiles., type: list}
lines: {description: "The plan for people, one difference a line.", type: list}
findings: {description: "The findings about the node, one sentence each.", type: list}
differing: {description: "The files that differ, as the node described them.", type: list}
wanted: {description: What the preflight compares the node with., type: dict}
found: {description: The facts that the preflight checks., type: dict}
"""
