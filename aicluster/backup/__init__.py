# SPDX-License-Identifier: Apache-2.0
"""What of a node is copied, to which stores, and with which secrets."""
