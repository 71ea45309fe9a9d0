# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_files.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_files
short_description: Deliver the files of a plan as one archive
description:
  - The node checks the files beside their targets. Only when all of them pass, a rename puts each into place,
    and files that no longer belong are removed. Check mode does nothing; C(stack_plan) predicts.
options:
  phase:
    description:
      - V(record) writes down which packages of a plan, and which files of their repository, the node does not
        have yet, for a cleanup.
      - V(deliver) sends the files that differ. The restarts and reloads they call for are written down first.
      - V(handled) crosses out the restarts and reloads of a part of the plan.
      - V(restore) takes our part out of every file shared with others, for a cleanup.
    type: str
    choices: [record, deliver, handled, restore]
    required: true
  part:
    description: The part of the plan that V(deliver) and V(handled) are about; V(engine) precedes the images.
    type: str
    choices: [prepare, engine]
    default: prepare
  plan: {description: What C(stack_plan) returned; V(restore) needs none., type: dict, default: {}}
"""

EXAMPLES = r"""
- name: Deliver the files that differ as one archive
  stack_files:
    phase: deliver
    plan: "{{ __stack_plan }}"
"""

RETURN = r"""
changed: {description: Whether files were written or removed., type: bool}
"""
