"""Documentation of the action in action_plugins/backup_nodes.py; the node's part is aicluster_backup.py."""

DOCUMENTATION = r"""
module: backup_nodes
short_description: Back up every node
description:
  - Starts the backup of each node that runs the service C(backup), all at once over ssh, and shows their
    progress. The nodes send their data to the stores themselves; none of it comes to the controller.
  - Fails when the backup of a node fails, after all others have ended. A node whose backup runs already
    refuses and names that run.
author: The AI cluster toolkit
options:
  nodes: {description: The nodes; the hosts of the play count., type: list, elements: dict, required: true}
  json_file: {description: File on the controller that gets the report as JSON., type: str, default: ""}
attributes:
  check_mode: {description: Names the nodes and starts nothing., support: full}
"""

RETURN = r"""
msg: {description: "How much was made and added, and which nodes failed.", returned: always, type: str}
"""
