# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the description of a site, and with a node."""
