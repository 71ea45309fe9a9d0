"""Documentation of action_plugins/rollback_node.py; the parts of the node are stack_node and its backups."""

DOCUMENTATION = r"""
module: rollback_node
short_description: Find the way back to what a service was before its image changed
description:
  - The node remembers image and snapshots of each service (C(stack_step), V(backup)). This action chooses
    the node, shows what it can go back to, has the image there, and writes the file that keeps the image.
options:
  phase:
    description: V(choose) once; the others on a chosen node. V(pin) changes something, the others nothing.
    type: str
    choices: [choose, show, pin]
    required: true
  nodes: {description: "The nodes of the site (V(choose), V(show)).", type: list, elements: dict, default: []}
  node: {description: "V(choose): a name, address or nothing; else C(cluster_node).", type: raw, default: ""}
  service: {description: "A service; empty to list.", type: str, default: ""}
  data: {description: Whether its data are to come back., type: bool, default: true}
  mirror: {description: The variable C(site_image_mirror)., type: str, default: ""}
  pins:
    description: For V(show) those of the site, for V(pin) what V(show) returned.
    type: list
    elements: dict
    default: []
  image: {description: "For V(pin), what V(show) returned.", type: str, default: ""}
  file: {description: "For V(pin), the file of pins.", type: path}
"""

RETURN = r"""
hosts: {description: The hosts the run is about., returned: phase is choose, type: list}
image: {description: The previous image., returned: phase is show, type: str}
snapshots: {description: The snapshots of its data., returned: phase is show, type: list}
pins: {description: All pins with the new one., returned: phase is show, type: list}
"""
