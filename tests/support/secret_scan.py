"""Looks on a node for secrets where they must not be. It runs there: Python 3.8 and its standard library.

`program` makes the text that a node's `python3 -` reads from stdin: no value ever is part of a command line,
which every process of the node and its journal could see. What is found is told by name, never by value.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

# Longer than any health check takes to ask.
LASTING_S = 15
ROOTS = ("/etc", "/home", "/opt", "/root", "/run", "/tmp", "/usr/local", "/var")
# What others keep: images, layers and volumes of the engine; and journals, which are asked for apart.
PASSED_BY = ("/var/lib/docker", "/var/lib/containerd", "/var/log/journal", "/run/log/journal")
# A secret's own place is below a folder `secrets`, and has one reader.
OWN_PLACE = ("(", "-path", "*/secrets/*", "-perm", "0400", ")")
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
    """Finds any of several secrets (name -> value) in bytes: with grep, which looks for all at once."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self.names = {shape: name for name, value in secrets.items() for shape in shapes(value.encode())}
        # In memory: neither a file nor an argument.
        self._patterns = os.memfd_create("patterns")
        os.write(self._patterns, b"\n".join(self.names))

    def _grep(self, stream: IO[bytes], *command: str) -> tuple[int, list[bytes]]:
        ran = subprocess.run(
            [*command, "-aoF", "-f", f"/dev/fd/{self._patterns}"],
            stdin=stream,
            stdout=subprocess.PIPE,
            pass_fds=[self._patterns],
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=False,
        )
        return ran.returncode, ran.stdout.splitlines()

    def names_in(self, stream: IO[bytes]) -> set[str]:
        code, found = self._grep(stream, "grep")
        if code > 1:
            raise RuntimeError(f"grep failed with {code}")
        return {self.names[shape] for shape in found}

    def names_in_files(self, *chosen: str) -> set[tuple[str, Path]]:
        """Return (name of a secret, path) of what the files hold that find chooses; some go meanwhile."""
        find = ["find", *chosen, "-type", "f", "-print0"]
        grep = ("xargs", "--null", "grep", "--no-messages", "--with-filename", "--null")
        with subprocess.Popen(find, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as listing:
            assert listing.stdout is not None
            _, found = self._grep(listing.stdout, *grep)
        pairs = (line.split(b"\0", 1) for line in found)
        return {(self.names[shape], Path(os.fsdecode(path))) for path, shape in pairs}


def in_files(finder: Finder) -> Iterator[tuple[str, str]]:
    """Look into every file of the roots; other file systems below them are not entered."""
    passed_by = [word for path in PASSED_BY for word in ("-path", path, "-prune", "-o")]
    for secret, path in finder.names_in_files(*ROOTS, "-xdev", *passed_by, "-not", *OWN_PLACE):
        yield secret, f"file {path}"


def in_processes(finder: Finder) -> Iterator[tuple[str, str]]:
    """Look at the command line of every process, and at the environment of every one that lasts.

    A command line is for everybody to see. An environment is for its own user, as the secret's file: a health
    check may hand a password to its client that way, a service may not.
    """
    commands, environments = (
        ("/proc", "-mindepth", "2", "-maxdepth", "2", "-path", f"/proc/[0-9]*/{part}")
        for part in ("cmdline", "environ")
    )
    found = finder.names_in_files(*commands)
    if for_a_while := finder.names_in_files(*environments):
        time.sleep(LASTING_S)
        found |= for_a_while & finder.names_in_files(*environments)
    for secret, path in found:
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
    for secret in found:
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
            *in_files(finder),
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
