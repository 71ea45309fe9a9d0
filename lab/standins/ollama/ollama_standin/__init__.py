"""A stand-in for Ollama: real protocol, made-up models."""

import os

VERSION = os.environ.get("STANDIN_VERSION", "0.0.0")
"""What the image's tag says."""
