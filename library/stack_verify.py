# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_verify.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_verify
short_description: Ask a node once more after a run
description:
  - Fails if anything still differs. Remembers what was provisioned, and ends what C(stack_hold) began.
    Check mode does nothing; C(stack_plan) predicts.
options:
  plan: {description: What C(stack_plan) returned., type: dict, required: true}
"""

EXAMPLES = r"""
- name: Inspect again whether anything still differs
  stack_verify:
    plan: "{{ __stack_plan }}"
"""

RETURN = r"""
facts: {description: The few facts of the node that the toolkit uses., type: dict}
"""
