"""Run the linters side by side, each only if what it reads has changed since it passed.

Once a linter has passed, a digest of all it reads is kept in .cache/lint, with its version and configuration.
Where git does not know the files, every linter runs. Exit code 1 when one failed; what it said is shown.
"""

import hashlib
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PASSED = ROOT / ".cache/lint"
# Versions of all tools and collections, and what decides for several of them.
SHARED = {"requirements.lock", "pyproject.toml", ".gitignore", "tests/lint.py"}
# Command -> the files it reads. The slowest first: the others run beside it.
LINTERS = {
    # Of Python only plugins, modules and the package they import, of prose nothing.
    "ansible-lint --strict": r"(aicluster|library|module_utils|\w+_plugins)/|(?!.*\.(py|md)$)",
    "mypy": r".*\.py$",
    "yamllint --strict .": r".*\.(ya?ml|yamllint)$|\.yamllint$",
    "ruff check --quiet .": r".*\.py$",
    "ruff format --check .": r".*\.py$",
}


def project_files() -> list[str]:
    """Return every file git has or would take; none where git does not know."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        return []
    return sorted(name for name in listed.split("\0") if name and (ROOT / name).is_file())


def digest(command: str, names: list[str]) -> str:
    """Return what differs wherever a linter could come to another verdict; nothing without names."""
    read = [name for name in names if name in SHARED or re.match(LINTERS[command], name)]
    held = [f"{name} {hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}" for name in read]
    return hashlib.sha256("\n".join([command, sys.version, *held]).encode()).hexdigest() if names else ""


def lint(command: str, names: list[str]) -> bool:
    """Run a linter if it has to be, and say how it went."""
    stamp, wanted = PASSED / command.replace(" ", "_"), digest(command, names)
    if wanted and stamp.is_file() and stamp.read_text() == wanted:
        print(f"{command:<22} passed before, on the same files", flush=True)
        return True
    begun = time.monotonic()
    done = subprocess.run(
        command.split(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    said = f"FAILED with exit code {done.returncode}\n{done.stdout}" if done.returncode else "passed"
    print(f"{command:<22} {said} ({time.monotonic() - begun:.1f} s)", flush=True)
    if not done.returncode:
        PASSED.mkdir(parents=True, exist_ok=True)
        stamp.write_text(wanted)
    return not done.returncode


def main() -> int:
    """Run them all, whatever the first ones say."""
    # The tools are those beside this Python; ansible-lint starts Ansible's by name.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    names = project_files()
    with ThreadPoolExecutor(os.cpu_count()) as side_by_side:
        return 0 if all(list(side_by_side.map(lambda command: lint(command, names), LINTERS))) else 1


if __name__ == "__main__":
    sys.exit(main())
