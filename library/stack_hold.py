# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_hold.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_hold
short_description: Hold a node for this run, or let other runs change it
description:
  - While a run holds a node, every other run that would change it fails and says who holds it. A run that is
    seen to be over is taken over. Check mode does nothing.
options:
  state:
    description:
      - V(held) before anything is changed; each later step of the run holds the node, too.
      - V(released) ends that. An engine that does not start with its new file gets back the old one.
    type: str
    choices: [held, released]
    required: true
"""

EXAMPLES = r"""
- name: Hold the node for this run
  stack_hold:
    state: held
"""

RETURN = r"""
engine: {description: "What was done for an engine that does not start; empty where it runs.", type: str}
"""
