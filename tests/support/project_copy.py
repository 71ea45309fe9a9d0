"""The project in another folder, to be edited as its user would, with the tools and the lab of this one."""

import shutil
import subprocess
from pathlib import Path

from tree import ROOT


def copy_of_the_project(target: Path) -> Path:
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.rstrip("\0").split("\0"):
        if not (ROOT / name).exists():
            continue  # removed, and not yet in git
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    for shared in (".venv", ".lab"):
        (target / shared).symlink_to(ROOT / shared)
    return target
