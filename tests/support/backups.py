"""What the tests of backups share: a node and a job as data, and a folder that stands for a node."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tree import ROOT

# What the programs of services import on a node.
PROGRAMS = ROOT / "roles/backup/templates/opt/aicluster/bin"


def job(name: str, **changed: Any) -> dict[str, Any]:
    """A job that copies nothing yet."""
    nothing: dict[str, Any] = {"dumps": [], "sqlite": {}, "paths": [], "exclude": [], "copies": 2}
    return {"name": name, **nothing, **changed}


def node(name: str, store: int = 0, keeps: bool = True, **services: Any) -> dict[str, Any]:
    """A node; with `store` one of that many GiB, without `keeps` one that runs no backup."""
    own: dict[str, Any] = {"backup": {}} if keeps else {}
    own |= {"backup_store": {"disk_gb": store, "ports": {"rest": {"port": 8000}}}} if store else {}
    ends = {"address": f"{name}.lan", "share": None, "capacity": None, "drained": False}
    return {"name": name, "host": f"host-{name}", **ends, "services": {**own, **services}}


class Folder:
    """A node whose files are below a folder of the test; its programs keep in `asked` what they are asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, text: str) -> None:
        self.write(name, text).chmod(0o755)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def tree(self, name: str) -> dict[str, str]:
        """Path of every file below a folder -> its text."""
        top = self.folder / name
        files = [path for path in top.rglob("*") if path.is_file()]
        return {str(path.relative_to(top)): path.read_text(errors="replace") for path in files}

    def asked(self, start: str = "") -> list[str]:
        return [line for line in self.read("asked").splitlines() if line.startswith(start)]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command that finds the node's programs first."""
        paths = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "PYTHONPATH": str(PROGRAMS)}
        return subprocess.run(command, env=paths, capture_output=True, text=True, check=False)

    def use(self, monkeypatch: pytest.MonkeyPatch, places: Mapping[ModuleType, Mapping[str, str]]) -> None:
        """Let the constants of modules name paths in the folder, and find its programs first."""
        for module, names in places.items():
            for name, path in names.items():
                monkeypatch.setattr(module, name, str(self.folder / path))
        monkeypatch.setenv("PATH", str(self.folder / "bin"), prepend=":")
