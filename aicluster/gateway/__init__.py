# SPDX-License-Identifier: Apache-2.0
"""The gateway: who gets how many requests, and who may pass."""
