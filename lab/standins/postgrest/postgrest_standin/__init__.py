"""A stand-in for PostgREST: reads its configuration, serves a schema of a real database over HTTP."""

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.0.0")
"""What the image's tag says."""
