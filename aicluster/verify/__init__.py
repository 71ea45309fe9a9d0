# SPDX-License-Identifier: Apache-2.0
"""Verify: what a node is told of the cluster, and what its answers add up to."""
