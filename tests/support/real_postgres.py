"""A real PostgreSQL, made for one test module by the programs of this machine."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# The server refuses to run as root.
NOBODY = 65534


def programs() -> Path:
    """Return the folder of the newest server's programs; without one the test is skipped, in CI it fails."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = debian[-1] if debian else shutil.which("initdb")
    if found:
        return Path(found).parent
    says = "no PostgreSQL server on this machine (apt-get install postgresql)"
    return pytest.fail(says) if os.environ.get("CI") else pytest.skip(says)


@dataclass(frozen=True)
class Database:
    """The way to a server, and how to ask it."""

    folder: Path
    programs: Path

    @property
    def environment(self) -> dict[str, str]:
        """What its clients are told."""
        told = {"PGHOST": str(self.folder), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        return {**told, "PATH": f"{self.programs}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def sql(self, text: str, **variables: str) -> str:
        """Return what statements yield; raise CalledProcessError, with what was said, when one fails."""
        given = [f"--set={name}={value}" for name, value in {"ON_ERROR_STOP": "1", **variables}.items()]
        command = [f"{self.programs}/psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", *given]
        done = subprocess.run(
            command, input=text, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise subprocess.CalledProcessError(done.returncode, "psql", done.stdout, done.stderr)
        return done.stdout.strip()

    def run(self, program: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a program that is a client of this server."""
        told: Mapping[str, str] = {**self.environment, **environment}
        return subprocess.run([program, *arguments], env=told, capture_output=True, text=True, check=False)


@contextmanager
def server() -> Iterator[Database]:
    """A server without a network, gone afterwards."""
    bin_folder = programs()
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:  # a socket's path must be short
        database = Database(Path(name), bin_folder)
        as_user: dict[str, Any] = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        if as_user:
            os.chown(name, NOBODY, NOBODY)
        new = [f"{bin_folder}/initdb", "--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"]
        data = f"{name}/data"
        subprocess.run([*new, "--locale=C.UTF-8", data], check=True, capture_output=True, **as_user)
        quick = ["-c", "fsync=off", "-c", "listen_addresses="]
        with (
            Path(name, "log").open("wb") as log,
            subprocess.Popen(
                [f"{bin_folder}/postgres", "-D", data, "-k", name, *quick], stderr=log, **as_user
            ) as running,
        ):
            try:
                ready = [f"{bin_folder}/pg_isready", "--quiet", "--host", name]
                while subprocess.run(ready, check=False).returncode:
                    assert running.poll() is None, Path(name, "log").read_text()
                    time.sleep(0.05)
                yield database
            finally:
                running.terminate()
