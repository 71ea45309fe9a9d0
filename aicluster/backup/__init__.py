"""Backups: what is kept of each node, where, with which secrets, and the nightly run over all nodes."""
