# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/stack_backup.py; the node's part is aicluster_backup.py."""

DOCUMENTATION = r"""
module: stack_backup
short_description: Back up services before their images change
description:
  - The node makes one snapshot of each service of the plan that has data, and remembers image, digest and
    snapshots for C(playbooks/rollback.yml). Services without data are remembered with their image.
  - A snapshot that cannot be made fails the task; nothing of the services has changed by then.
    Check mode does nothing; C(stack_plan) predicts.
options:
  plan: {description: What C(stack_plan) returned., type: dict, required: true}
"""

EXAMPLES = r"""
- name: Back up the services whose images change
  stack_backup:
    plan: "{{ __stack_plan }}"
"""

RETURN = r"""
before: {description: What the node remembers of each service., type: dict}
"""
