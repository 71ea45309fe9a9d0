"""A stand-in for Kong: its routing, balancing, health and plugin rules as documented, in readable Python."""

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.0.0")
"""What the image's tag says."""
SERVER = f"kong-stand-in/{VERSION}"
