"""First process of the container: check what must hold, leave out flags this version lacks, become ComfyUI.

Usage: start.py MANAGER_CONFIG OPTIONAL_FLAGS ARGUMENT..., in ComfyUI's folder. MANAGER_CONFIG is where
ComfyUI-Manager's settings were mounted, relative to the folder; OPTIONAL_FLAGS are separated by commas.
"""

import os
import re
import sys
from configparser import ConfigParser
from pathlib import Path

# What the sources of ComfyUI-Manager say about the place of its settings, by version.
NEW_PLACE, OLD_PLACE = "user/__manager/config.ini", "user/default/ComfyUI-Manager/config.ini"
# Switches are long options of argparse.
SWITCH = re.compile(r"[\"'](--[a-z0-9_-]+)[\"']")


def manager_place(comfyui: Path) -> str:
    """Return where the installed ComfyUI-Manager reads its settings; an empty text without one."""
    manager = comfyui / "custom_nodes" / "ComfyUI-Manager"
    if not manager.is_dir():
        return ""
    sources = (path.read_text(errors="replace") for path in manager.rglob("*.py"))
    return NEW_PLACE if any("__manager" in source for source in sources) else OLD_PLACE


def problem(comfyui: Path, mounted: str) -> str:
    """Return why ComfyUI must not start; an empty text if it may."""
    place = manager_place(comfyui)
    if place and place != mounted:
        return (
            f"this image's ComfyUI-Manager reads {place}, but its settings are mounted at {mounted}: "
            f"it would accept code from anyone. Set comfyui_manager_config: {place}"
        )
    settings = ConfigParser()
    settings.read(comfyui / mounted)
    level = settings.get("default", "security_level", fallback="missing")
    return "" if level == "strong" else f"security_level in {mounted} is {level}: must be strong"


def main(arguments: list[str]) -> None:
    """Become ComfyUI, or end with the reason why not."""
    mounted, optional, *given = arguments
    comfyui = Path.cwd()
    reason = problem(comfyui, mounted)
    if reason:
        sys.exit(f"start: {reason}")
    known = SWITCH.findall((comfyui / "comfy" / "cli_args.py").read_text())
    wanted = [flag for flag in optional.split(",") if flag]
    for flag in wanted:
        if flag not in known:
            print(f"start: this ComfyUI does not know {flag}, left out", flush=True)
    flags = [flag for flag in wanted if flag in known]
    os.execv(sys.executable, [sys.executable, "main.py", *given, *flags])


if __name__ == "__main__":
    main(sys.argv[1:])
