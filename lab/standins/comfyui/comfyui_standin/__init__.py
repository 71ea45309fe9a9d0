"""A stand-in for ComfyUI: real protocol, made-up pictures."""

VERSION = "0.3.26"
