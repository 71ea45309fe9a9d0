# SPDX-License-Identifier: Apache-2.0
"""The controller's half of the engine: desired state -> one question per node -> plan -> one archive."""
