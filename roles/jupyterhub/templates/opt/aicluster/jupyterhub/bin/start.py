"""First process of the container: see to it that every locked package is there, then become the hub.

The official image is the hub alone. What it lacks (JupyterLab, the culler of idle notebooks) is installed
into a volume, once per lock: `env-<digest>`, finished when its marker is there. An image that has everything
needs none.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

LOCK, PACKAGES = Path("/etc/aicluster/requirements.txt"), Path("/srv/jupyter")
HUB = "/opt/aicluster/bin/hub.py"
MARKER = "complete"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    """Return name -> exact version of every package a lock names."""
    return dict(PIN.findall(lock))


def has(name: str, version: str) -> bool:
    """Tell whether this Python has a package in this version."""
    try:
        return importlib.metadata.version(name) == version
    except importlib.metadata.PackageNotFoundError:
        return False


def environment_of(lock: str) -> Path:
    """Return the folder for the packages of a lock: another lock, Python or machine is another folder."""
    made_of = "\n".join([lock, platform.python_version(), platform.machine()])
    return PACKAGES / f"env-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"


def install(environment: Path) -> None:
    """Install the lock into a new environment and mark it complete. Raises CalledProcessError."""
    shutil.rmtree(environment, ignore_errors=True)
    scratch = PACKAGES / "tmp"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    # --no-deps: the lock is complete. --only-binary: nothing is compiled here, and no package runs code now.
    command: list[str | Path] = [
        environment / "bin" / "python", "-m", "pip", "install", "--require-hashes", "--no-deps",
        "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "--quiet",
        "--requirement", LOCK,
    ]  # fmt: skip
    subprocess.run(command, check=True, env={**os.environ, "TMPDIR": str(scratch)})
    shutil.rmtree(scratch)
    # A power cut may not leave the marker alone.
    os.sync()
    (environment / MARKER).write_text("")


def prepared(lock: str) -> Path:
    """Return a Python that has all packages of the lock, installing them if need be."""
    missing = [name for name, version in pins(lock).items() if not has(name, version)]
    if not missing:
        return Path(sys.executable)
    environment = environment_of(lock)
    if not (environment / MARKER).exists():
        print(
            f"start: installing {len(pins(lock))} packages; {len(missing)} are not in the image", flush=True
        )
        try:
            install(environment)
        except subprocess.CalledProcessError as error:
            sys.exit(
                f"start: the packages cannot be installed (exit code {error.returncode}, reason above). "
                "Without the internet set jupyterhub_pip_index_url to a mirror of yours."
            )
    for old in PACKAGES.glob("env-*"):
        if old != environment:
            shutil.rmtree(old)
    return environment / "bin" / "python"


def main() -> None:
    """Become the hub."""
    python = prepared(LOCK.read_text())
    # Programs of the environment first: the hub starts notebooks by name.
    os.environ["PATH"] = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    os.environ.pop("VIRTUAL_ENV", None)
    os.execv(python, [str(python), HUB])


if __name__ == "__main__":
    main()
