"""Documentation of the action in action_plugins/site_preflight.py; nothing of it runs on a node."""

DOCUMENTATION = r"""
module: site_preflight
short_description: Validate the whole site description before any node is touched
description:
  - Reads inventory, group_vars, host_vars, argument_specs of the roles and the names in the secrets file, on
    the controller alone, and fails with every mistake at once, each with its object, value, rule and fix.
"""
