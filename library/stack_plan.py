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
