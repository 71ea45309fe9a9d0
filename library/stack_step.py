"""Documentation of the action in action_plugins/stack_step.py; the node's part is library/stack_node.py."""

DOCUMENTATION = r"""
module: stack_step
short_description: Carry out one step of a run that changes a node
description:
  - The run holds the node from its first step on. Every other run that would change it fails and says who
    holds it. A run that is seen to be over is taken over. Check mode does nothing; C(stack_plan) predicts.
options:
  phase:
    description:
      - V(hold) does nothing but hold the node.
      - V(record) writes down which packages of a plan, and which files of their repository, the node does not
        have yet, for a cleanup.
      - V(pull) pulls the images that the plan misses, and fails with every image that cannot be had.
      - V(backup) makes one snapshot of each service of the plan that has data, and remembers image, digest
        and snapshots for C(playbooks/rollback.yml). Services without data are remembered with their image.
      - V(deliver) sends the files that differ as one archive. The node checks them beside their targets. Only
        when all of them pass, a rename puts each into place, and files that no longer belong are removed.
        The restarts and reloads they call for are written down first.
      - V(handled) crosses out the restarts and reloads of a part of the plan. What is to be taken on trial
        first, as rules of a firewall, it confirms over a new connection.
      - V(reload) runs a command inside each container whose files changed, and asks until the container says
        that it works with them. One that is unhealthy is restarted instead; one that does not run reads its
        files when it starts. No signal is sent through Docker. It would count as a stop by hand, and the
        container would stay down after the next boot of the node.
      - V(verify) inspects the node again and fails if anything still differs. It remembers what was
        provisioned, and ends the hold.
      - V(release) ends the hold. An engine that does not start with its new file gets back the old one.
      - V(restore) takes our part out of every file shared with others, for a cleanup.
    type: str
    choices: [hold, record, pull, backup, deliver, handled, reload, verify, release, restore]
    required: true
  part:
    description: The part of the plan that V(deliver) and V(handled) are about; V(engine) precedes the images.
    type: str
    choices: [prepare, engine]
    default: prepare
  plan:
    description: What C(stack_plan) returned; V(hold), V(release) and V(restore) need none.
    type: dict
    default: {}
"""
