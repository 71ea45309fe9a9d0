"""Where ComfyUI has its own: the stand-in starts the same way."""

import runpy

if __name__ == "__main__":
    runpy.run_module("comfyui_standin.server", run_name="__main__")
