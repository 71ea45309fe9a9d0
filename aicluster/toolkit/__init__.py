# SPDX-License-Identifier: Apache-2.0
"""The toolkit itself, as it is installed on the control node."""
