# SPDX-License-Identifier: Apache-2.0
"""What is measured, and where it is shown."""
