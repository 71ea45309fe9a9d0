# SPDX-License-Identifier: Apache-2.0
"""What the controller computes from the site description: typed, pure, without Ansible."""
