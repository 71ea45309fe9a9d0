"""What the tests of backups share: nodes, jobs and snapshots as data, and a folder that stands for a node."""

import datetime
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import aicluster_backup_job
import aicluster_backup_record as record
import pytest
import render
from tree import ROOT

# What the programs of services import on a node.
PROGRAMS = ROOT / "roles/backup/templates/opt/aicluster/bin"
# Keeps what it is asked, with the repository and the password; answers its first word, else the last it can.
DOCKER = """#!/bin/sh
here=$(dirname "$(dirname "$0")")
echo "$RESTIC_REPOSITORY|$RESTIC_PASSWORD|$*" >> "$here/asked"
for word in "$@" "$1"; do if [ -e "$here/on/$word" ]; then answer=$here/on/$word; fi; done
if [ "$answer" ]; then . "$answer"; fi
"""


# The container of backups as `docker inspect` shows it; one beside it takes over what is in here, partly.
_ENV = ["GOMEMLIMIT=5B", "TMPDIR=/cache", "RESTIC_PASSWORD_FILE=/own"]
_CONTAINER = {"Image": "sha256:1", "HostConfig": {"Memory": 7}, "Config": {"Env": _ENV}}
INSPECT = f"echo '{json.dumps([_CONTAINER])}'"


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


def snapshot(name: str, hours: float, **more: Any) -> dict[str, Any]:
    """A snapshot as restic lists it, made some hours ago."""
    made = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=hours)
    return {"id": name, "short_id": name, "time": made.isoformat(), **more}


def given_to_store(name: str, **overrides: Any) -> dict[str, str]:
    """Last part of the path -> content of what the store on a node is given."""
    [host] = [node["host"] for node in render.cluster("production") if node["name"] == name]
    files = render.render_role("backup_store", host=host, overrides=overrides)
    return {path.rpartition("/")[2]: content for path, content in files.items()}


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

    def docker(self, program: str = "docker", /, **answers: str) -> None:
        """Stand for Docker, and for restic in its container: to a word, run lines of shell."""
        self.program(f"bin/{program}", DOCKER)
        self.write("asked", "")
        for word, lines in answers.items():
            self.write(f"on/{word}", lines)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def tree(self, name: str) -> dict[str, str]:
        """Path of every file below a folder -> its text."""
        top = self.folder / name
        files = [path for path in top.rglob("*") if path.is_file()]
        return {str(path.relative_to(top)): path.read_text(errors="replace") for path in files}

    def read_json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def write_json(self, name: str, value: Any) -> None:
        self.write(name, json.dumps(value))

    def asked(self, start: str = "", repository: str = "") -> list[str]:
        """What Docker was asked that begins so, of one repository if it is named."""
        lines = [line.split("|", 2) for line in self.read("asked").splitlines()]
        return [said for where, _, said in lines if said.startswith(start) and repository in ("", where)]

    def metrics(self, name: str) -> dict[str, float]:
        """Sample -> value of a file that a program wrote."""
        lines = self.read(f"metrics/aicluster_{name}.prom").splitlines()
        samples = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
        return {sample: float(value) for sample, value in samples}

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


class BackupNode(Folder):
    """PI52 with its plan and the addresses of two stores."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(folder)
        for store in (1, 2):
            self.write(f"secrets/store_{store}", "/repository\n")
        places = {
            "JOBS": "jobs.json", "STAGING": "staging", "STATE": "staging/state.json",
            "PROGRESS": "run/progress", "LOCK": "lock",
        }  # fmt: skip
        job_places = {"SECRETS": "secrets", "HANDED": "handed.json"}
        self.use(monkeypatch, {record: places, aicluster_backup_job: job_places})
        monkeypatch.setattr(record, "LOCK_PATIENCE_S", 0.0)

    def plan(self, *jobs: dict[str, Any]) -> None:
        self.write_json("jobs.json", {"node": "PI52", "stores": ["AGX0", "ORIN0"], "jobs": jobs})
