"""A stand-in for Grafana: the same files and the same questions, no drawing."""

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.0.0")
"""What the image's tag says."""
