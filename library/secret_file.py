"""Documentation of the action in action_plugins/secret_file.py; nothing of it runs on a node."""

DOCUMENTATION = r"""
module: secret_file
short_description: Complete the file that holds an inventory's secrets
description:
  - Adds a random value for each name the file lacks, on the controller. What is there is never changed.
  - No value is printed, logged or returned. Check mode says what would be made.
options:
  path: {description: The file; made with mode 0600 when there is none., type: path, required: true}
  names: {description: Names that must have a value., type: list, elements: str, required: true}
  encrypted: {description: Whether the file is an ansible-vault., type: bool, required: true}
"""
