# SPDX-License-Identifier: Apache-2.0
"""What fits on a node: services and models."""
