"""A stand-in for SonarQube: real protocol, real database, no analysis."""

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.0.0")
"""What the image's tag says."""
