"""A stand-in for ComfyUI: real protocol, made-up pictures."""
