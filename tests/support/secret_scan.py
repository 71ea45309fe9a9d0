"""Looks on a node for secrets where they must not be. It runs there: Python 3.8 and its standard library.

`program` makes the text that a node's `python3 -` reads from stdin: no value ever is part of a command line,
which every process of the node and its journal could see. What is found is told by name, never by value.
"""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

# A shorter value could be anywhere by chance.
SHORTEST = 8
FILES_AT_ONCE = 500
# Longer than any health check takes to ask.
LASTING_S = 15
ROOTS = ("/etc", "/home", "/opt", "/root", "/run", "/tmp", "/usr/local", "/var")
# What others keep: images, layers and volumes of the engine; and journals, which are asked for apart.
PASSED_BY = ("/var/lib/docker", "/var/lib/containerd", "/var/log/journal", "/run/log/journal")
# Units, containers, sudo's and Ansible's notes of what they ran.
JOURNAL = (
    *("journalctl", "--quiet", "--no-pager", "--all", "--output=export"),
    "--output-fields=MESSAGE,_CMDLINE",
)


def shapes(value: bytes) -> list[bytes]:
    """Return a value as it is, and as it looks within the base64 of a longer text (as logins are sent)."""
    found = [value]
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + value)
        # What depends on the neighbours is cut off.
        end = len(coded) - (4 if (before + len(value)) % 3 else 0)
        found.append(coded[(before * 8 + 5) // 6 : end])
    return found


class Finder:
    """Finds any of several secrets in bytes: with grep, which looks for all of them at once."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        """`secrets`: name -> value. Raises ValueError for one too short to be told from chance."""
        short = sorted(name for name, value in secrets.items() if len(value.encode()) < SHORTEST)
        if short:
            raise ValueError(f"too short to look for: {', '.join(short)}")
        self.names: dict[bytes, str] = {}
        for name, value in sorted(secrets.items()):
            for shape in shapes(value.encode()):
                self.names.setdefault(shape, name)
        # In memory: neither a file nor an argument.
        self._patterns = os.memfd_create("patterns")
        os.write(self._patterns, b"\n".join(self.names))

    def _grep(self, arguments: Sequence[str | Path], stream: IO[bytes] | None = None) -> tuple[int, bytes]:
        ran = subprocess.run(
            ["grep", "-aoF", "-f", f"/dev/fd/{self._patterns}", *arguments],
            stdin=stream or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            pass_fds=[self._patterns],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=False,
        )
        return ran.returncode, ran.stdout

    def names_in(self, stream: IO[bytes]) -> set[str]:
        code, found = self._grep([], stream)
        if code > 1:
            raise RuntimeError(f"grep failed with {code}")
        return {self.names[shape] for shape in found.splitlines()}

    def names_in_files(self, paths: Sequence[Path]) -> set[tuple[str, Path]]:
        """Return (name of a secret, path) of what files hold; one that has gone meanwhile holds nothing."""
        _, found = self._grep(["--no-messages", "--with-filename", "--null", "--", *paths])
        pairs = (line.split(b"\0", 1) for line in found.splitlines())
        return {(self.names[shape], Path(os.fsdecode(path))) for path, shape in pairs}


def may_hold_secrets(path: Path, mode: int) -> bool:
    """Whether a file is a secret's own place: below a folder `secrets`, and for one reader."""
    return "secrets" in path.parent.parts and stat.S_IMODE(mode) == 0o400


def regular_files(roots: Sequence[str], passed_by: Sequence[str] = ()) -> Iterator[tuple[Path, int]]:
    """Yield path and mode of every regular file; other file systems below the roots are not entered."""
    for root in roots:
        for top, folders, names in os.walk(root):
            folder = Path(top)
            folders[:] = [
                one for one in folders if str(folder / one) not in passed_by and not (folder / one).is_mount()
            ]
            for path in (folder / name for name in names):
                try:
                    mode = path.lstat().st_mode
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(mode):
                    yield path, mode


def in_files(
    finder: Finder, roots: Sequence[str], passed_by: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    modes = {path: mode for path, mode in regular_files(roots, passed_by) if not may_hold_secrets(path, mode)}
    paths = list(modes)
    for start in range(0, len(paths), FILES_AT_ONCE):
        for secret, path in sorted(finder.names_in_files(paths[start : start + FILES_AT_ONCE])):
            yield secret, f"file {path} ({stat.S_IMODE(modes[path]):o})"


def in_processes(finder: Finder) -> Iterator[tuple[str, str]]:
    """Look at the command line of every process, and at the environment of every one that lasts.

    A command line is for everybody to see. An environment is for its own user, as the secret's file: a health
    check may hand a password to its client that way, a service may not.
    """
    commands, environments = (list(Path("/proc").glob(f"[0-9]*/{part}")) for part in ("cmdline", "environ"))
    found = finder.names_in_files(commands)
    if for_a_while := finder.names_in_files(environments):
        time.sleep(LASTING_S)
        found |= for_a_while & finder.names_in_files([path for _, path in for_a_while])
    for secret, path in sorted(found):
        try:
            name = (path.parent / "comm").read_text().strip()
        except OSError:  # it has ended meanwhile
            name = path.parent.name
        yield secret, f"{path.name} of process {name}"


def in_output(finder: Finder, argv: Sequence[str], place: str) -> Iterator[tuple[str, str]]:
    """Look into all that a command prints; raises RuntimeError when it fails."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        found = finder.names_in(process.stdout)
    if process.returncode:
        raise RuntimeError(f"{argv[0]} failed with {process.returncode}")
    for secret in sorted(found):
        yield secret, place


def in_containers(finder: Finder) -> Iterator[tuple[str, str]]:
    listing = subprocess.check_output(["docker", "ps", "--all", "--format", "{{.ID}} {{.Names}}"])
    for line in listing.decode().splitlines():
        container, name = line.split(" ", 1)
        for what in ("inspect", "logs"):
            yield from in_output(finder, ["docker", what, container], f"docker {what} {name}")


def everywhere(secrets: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return (name, place) of every secret seen on this node where it must not be, sorted."""
    finder = Finder(secrets)
    return sorted(
        {
            *in_files(finder, ROOTS, PASSED_BY),
            *in_processes(finder),
            *in_containers(finder),
            *in_output(finder, JOURNAL, "journal"),
        }
    )


def program(secrets: Mapping[str, str]) -> str:
    """Return the program a node is given on stdin; it prints what `everywhere` returns as JSON."""
    values = json.dumps(json.dumps(dict(secrets)))
    return f"{Path(__file__).read_text()}\n\nprint(json.dumps(everywhere(json.loads({values}))))\n"


def run(python: Sequence[str], secrets: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what the program finds where the command `python` runs it; raises RuntimeError if it fails."""
    ran = subprocess.run([*python, "-"], input=program(secrets), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise RuntimeError(f"the search failed: {ran.stderr.strip()[-1000:]}")
    return [(name, place) for name, place in json.loads(ran.stdout.splitlines()[-1])]
