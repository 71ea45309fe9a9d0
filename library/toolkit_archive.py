# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/toolkit_archive.py; nothing of it runs on a node."""

DOCUMENTATION = r"""
module: toolkit_archive
short_description: Pack the toolkit and the Python it runs on
description:
  - Writes a tar.gz on the controller, from its own files and from the libraries it runs on. No secret and no
    file that ansible-vault encrypted is in it. The archive is gone when the run ends.
author: The AI cluster toolkit
options:
  links:
    description: Symbolic links to add, path in the toolkit to where it leads on the node.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Runs the same in check mode, for it changes nothing.
    support: full
"""

EXAMPLES = r"""
- name: Pack the toolkit
  toolkit_archive:
    links: {secrets: /var/lib/aicluster-toolkit/secrets}
  register: __control_node_archive
"""

RETURN = r"""
path:
  description: Where the archive lies on the controller.
  returned: always
  type: str
files:
  description: How many files it holds.
  returned: always
  type: int
bytes:
  description: Its size.
  returned: always
  type: int
"""
