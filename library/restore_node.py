"""Documentation of action_plugins/restore_node.py; the part of the node is aicluster_backup_restore.py."""

DOCUMENTATION = r"""
module: restore_node
short_description: Restore a node or one of its services from a backup
description:
  - The node reads its snapshots from the stores itself (role backup, C(aicluster_backup_restore.py)); this
    action chooses the node, shows what would change, starts the program over ssh and shows its progress.
options:
  phase:
    description: V(choose) once; the others on the chosen node, V(show), V(apply), V(verify).
    type: str
    choices: [choose, show, apply, verify]
    required: true
  nodes: {description: The nodes of the site (V(choose))., type: list, elements: dict, default: []}
  node: {description: "V(choose): a name, address or nothing; else C(cluster_node).", type: raw, default: ""}
  service: {description: "A service, or V(all); empty to list.", type: str, default: ""}
  options:
    description: One of C(database), C(bucket), C(path); C(snapshot), C(copy), and C(safety).
    type: dict
    default: {}
  offsite: {description: Address of the off-site repository., type: str, default: ""}
  offsite_environment: {description: Variables of restic that open it., type: dict, default: {}}
"""

RETURN = r"""
hosts: {description: The hosts the run is about., returned: phase is choose, type: list}
results: {description: One result per service, as of C(verify_nodes)., returned: phase is verify, type: list}
"""
