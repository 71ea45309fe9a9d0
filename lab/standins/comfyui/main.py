"""Where ComfyUI has its own: the stand-in starts the same way."""

from comfyui_standin.__main__ import main

if __name__ == "__main__":
    main()
