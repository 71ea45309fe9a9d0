#!/usr/bin/python
"""Starts the node's half of the engine, module_utils/aicluster_node, from the sources it is sent."""

DOCUMENTATION = r"""
module: stack_node
short_description: The node's half of the engine, not for playbooks
description:
  - The action plugins C(stack_plan), C(stack_step) and C(rollback_node) send it their requests.
options:
  request: {description: Base64 of a request in JSON., type: str, required: true}
  sources: {description: The sources of C(aicluster_node)., type: str, required: true}
"""

import json
import sys
import zlib
from binascii import a2b_base64
from importlib.machinery import ModuleSpec


class Sources:
    """Imports modules from {dotted name: source}; a module that is not imported is not compiled."""

    def __init__(self, sources):
        """Take the sources."""
        self.sources = sources

    def find_spec(self, name, _path=None, _target=None):
        """Return how to import a module, None for those of others."""
        return ModuleSpec(name, self, is_package="." not in name) if name in self.sources else None

    def create_module(self, _spec):
        """Leave it to Python."""

    def exec_module(self, module):
        """Run the source of a module in it."""
        exec(compile(self.sources[module.__name__], module.__name__, "exec"), module.__dict__)


if __name__ == "__main__":
    # No AnsibleModule: unpacking and compiling it is nine tenths of what an inspection costs a node, and it
    # would write each question into the journal, on an SD card.
    # Ansible puts the arguments in the place of the mark.
    arguments = json.loads(r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>""")
    sys.meta_path.insert(0, Sources(json.loads(zlib.decompress(a2b_base64(arguments["sources"])).decode())))
    from aicluster_node.answer import answer

    print(json.dumps(answer(json.loads(a2b_base64(arguments["request"]).decode()))))
