# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_images.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_images
short_description: Pull the images that a plan misses
description:
  - Pulls before any file of a service is replaced, and fails with every image that cannot be had.
    Check mode does nothing; C(stack_plan) predicts.
options:
  plan: {description: What C(stack_plan) returned., type: dict, required: true}
"""

EXAMPLES = r"""
- name: Pull the images of new and changed containers
  stack_images:
    plan: "{{ __stack_plan }}"
"""

RETURN = r"""
changed: {description: Whether an image was pulled., type: bool}
"""
