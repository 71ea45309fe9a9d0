# SPDX-License-Identifier: Apache-2.0
"""The site: its services, nodes and placement."""
