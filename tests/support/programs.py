"""Programs that a test starts, and programs it puts in the place of others."""

import subprocess
from pathlib import Path

from aicluster_lab import ask
from tree import ROOT


def ansible(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of Ansible in the root, where nothing but ansible.cfg and `environment` sets it."""
    told = ask.environment(ROOT) | environment
    return subprocess.run(argv, cwd=ROOT, env=told, capture_output=True, text=True, check=False)


def script(path: Path, text: str) -> str:
    """Make a program of a few lines of shell; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)
