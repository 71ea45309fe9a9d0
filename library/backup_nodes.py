# SPDX-License-Identifier: Apache-2.0
"""Documentation of the action in action_plugins/backup_nodes.py; the node's part is aicluster_backup.py."""

DOCUMENTATION = r"""
module: backup_nodes
short_description: Back up every node
description:
  - Starts the backup of each node that runs the service C(backup), all at once over ssh, and shows their
    progress. The nodes send their data to the stores themselves; none of it comes to the controller.
  - Fails when the backup of a node fails, after all others have ended. A node whose backup runs already
    refuses and names that run. Check mode names the nodes and starts nothing.
options:
  nodes: {description: "C(cluster_nodes); those of the play are backed up.", type: list, required: true}
  json_file: {description: File for the report as JSON; empty for none., type: str, default: ""}
"""

EXAMPLES = r"""
- name: Back up every node
  backup_nodes:
    nodes: "{{ cluster_nodes }}"
  run_once: true
"""

RETURN = r"""
msg: {description: "How many snapshots were made, how much was added, and which nodes failed.", type: str}
"""
