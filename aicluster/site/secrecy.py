"""Whether a file keeps its secrets: encrypted as a whole, or where git does not take it."""

import os
import subprocess
from pathlib import Path

VAULT_HEADER = b"$ANSIBLE_VAULT;"


def is_encrypted(path: Path) -> bool:
    """Tell whether ansible-vault encrypted a file as a whole."""
    with path.open("rb") as handle:
        return handle.read(len(VAULT_HEADER)) == VAULT_HEADER


def git_shows(path: Path) -> bool:
    """Tell whether a file, there or not, lies in a git work tree that does not ignore it."""
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    ask = ["git", "-C", str(folder), "check-ignore", "--quiet", str(path.absolute())]
    # A work tree of another user is one all the same.
    trusting = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    try:
        done = subprocess.run(ask, env={**os.environ, **trusting}, capture_output=True, check=False)
    except FileNotFoundError:
        return False  # without git nobody commits anything
    return done.returncode == 1  # 0: ignored, 128: no work tree


def is_exposed(path: Path) -> bool:
    """Tell whether a file is plain text that git would commit."""
    return path.is_file() and os.access(path, os.R_OK) and not is_encrypted(path) and git_shows(path)
