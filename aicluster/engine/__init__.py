"""The engine: the desired state of a node, what differs from it, and what a run does about it."""
