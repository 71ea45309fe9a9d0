"""Verify: what a node is told of the cluster, and what its answers add up to."""
