"""The options this project passes to ComfyUI; like the real one, any other ends the program."""

import argparse


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    options = argparse.ArgumentParser(prog="main.py")
    options.add_argument("--listen", default="127.0.0.1")
    options.add_argument("--port", type=int, default=8188)
    options.add_argument("--disable-auto-launch", action="store_true")
    memory = options.add_mutually_exclusive_group()
    memory.add_argument("--lowvram", action="store_true")
    memory.add_argument("--novram", action="store_true")
    memory.add_argument("--cpu", action="store_true")
    options.add_argument("--reserve-vram", type=float)
    options.add_argument("--disable-smart-memory", action="store_true")
    return options
