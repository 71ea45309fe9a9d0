"""Documentation of the action in action_plugins/verify_nodes.py; the node's part is aicluster_verify.py."""

DOCUMENTATION = r"""
module: verify_nodes
short_description: Test every service of every node
description:
  - Each node asks its own services (role stack, C(aicluster_verify.py)); this action starts that with one
    command per node and adds up the answers, for people and for programs.
options:
  phase:
    description: V(begin) once, V(ask) on every node, V(report) once.
    type: str
    choices: [begin, ask, report]
    required: true
  begun: {description: What V(begin) returned., type: dict, default: {}}
  node: {description: "For V(ask), the node as C(cluster_node) has it.", type: dict, default: {}}
  nodes:
    description: For V(report), the variable C(cluster_nodes); each host's answer is its variable C(__verify).
    type: list
    elements: dict
    default: []
  json_file: {description: "For V(report), file the report is written to as JSON.", type: str, default: ""}
"""
