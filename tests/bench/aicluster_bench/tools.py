"""The other tools, installed from their own hashed lock: the project itself does not need them."""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path


def install(lock: Path, folder: Path) -> Path:
    """Install the lock into a virtual environment in `folder`, unless it is; return the environment.

    Raises RuntimeError with pip's words.
    """
    environment = folder / "venv"
    done = environment / lock.name
    if done.exists() and filecmp.cmp(lock, done, shallow=False):
        return environment
    shutil.rmtree(environment, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    result = subprocess.run(
        [*pip, "--require-hashes", "-r", str(lock)], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise RuntimeError(f"the tools to compare with cannot be installed:\n{result.stderr.strip()}")
    shutil.copy(lock, done)  # last: an interrupted installation is done again
    return environment


def mitogen_path(environment: Path, folder: Path) -> Path:
    """Return a folder with nothing but mitogen, for the project's own Ansible to import it from.

    The environment's whole site-packages would lay its other packages over those of the project.
    """
    packages = next(environment.glob("lib/python*/site-packages"))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("mitogen", "ansible_mitogen"):
        (folder / name).symlink_to(packages / name)
    return folder
