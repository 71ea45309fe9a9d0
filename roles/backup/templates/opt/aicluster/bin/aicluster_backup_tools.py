"""What the programs of backups share: they run commands, and read what those answer."""

import argparse
import difflib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.parse
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

CONNECT_S = 10.0
# What two good clocks may differ.
CLOCKS_DIFFER_S = 300
MISSING_WORDS = re.compile(r"does not exist, skipping")


class FailedError(Exception):
    """Something was not done: why, and the exit code that is recorded. `status`: that of the program."""

    status = 1

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """`message` is one sentence."""
        super().__init__(message)
        self.exit_code = exit_code


class RefusedError(FailedError):
    """What is asked for is not possible; nothing was changed."""

    status = 2


class BusyError(FailedError):
    """Another run holds the lock."""

    status = 75


def commands_of(meaning: Optional[str]) -> Tuple[argparse.ArgumentParser, Any]:
    """Return the parser of a program, and what its commands are added to."""
    parser = argparse.ArgumentParser(description=(meaning or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.required = True
    return parser, commands


def status_of(act: Callable[..., int], *arguments: Any) -> int:
    """Return the exit status of a program that does this; say why it could not."""
    try:
        return act(*arguments)
    except FailedError as error:
        print(error, file=sys.stderr, flush=True)
        return error.status


def said_by(error: Exception) -> str:
    """Return the sentence about an error, which begins with its kind unless it is one of ours."""
    return str(error) if isinstance(error, FailedError) else "%s: %s" % (type(error).__name__, error)


def end(_signal: int, _frame: Any) -> None:
    """End as a program that was told to, so that it cleans up."""
    raise SystemExit(128 + signal.SIGTERM)


def load(path: str, default: Any) -> Any:
    """Return the content of a JSON file, the default if there is none or only a part of one."""
    try:
        with open(path) as handle:
            return json.load(handle)
    except (OSError, ValueError):
        return default


def objects(text: str) -> Iterator[Any]:
    """Yield what restic wrote, one object a line; names may have what only Python takes for its end."""
    return map(json.loads, filter(None, text.split("\n")))


def save(path: str, document: Any) -> None:
    """Replace a JSON file in one step; raises OSError, as where the disk is full."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as handle:
        json.dump(document, handle, indent=1, sort_keys=True)
        handle.write("\n")
        handle.flush()
        os.fsync(handle.fileno())
    os.rename(path + ".new", path)


def digest(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            found.update(part)
    return found.hexdigest()


def serve(service: str, back_up: Callable[[str], str]) -> None:
    """Be the program `backup FOLDER` of a service: print the sentence about what is in the folder now."""
    if not sys.argv[1:]:
        sys.exit("usage: backup FOLDER")
    try:
        print(back_up(sys.argv[1]))
    except (FailedError, OSError, ValueError) as error:
        sys.exit("%s: %s" % (service, error))


def require_room(path: str, needed: int, words: str = "", refuse: Type[Exception] = FailedError) -> None:
    """Raise an exception unless a disk has room for so many bytes; `words`: what for, or what helps."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise refuse("%s: %d MB free, %d MB needed%s" % (path, free // 10**6, needed // 10**6, words))


def say(sentence: str) -> None:
    """Print a sentence; a restore goes on without whoever read it, else its containers would stay stopped."""
    try:
        print(sentence, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def megabytes(count: float) -> str:
    """Return bytes for people."""
    return "%.1f MB" % (count / 1e6)


def size_of(path: str) -> int:
    """Return how many bytes a folder takes on its disk, 0 where there is none; files may vanish meanwhile."""
    said = ask(["du", "--summarize", "--block-size=1", path]).out
    return int(said.split()[0]) if said else 0


def nearest(word: str, known: Sequence[str]) -> str:
    """Return which of the known words was probably meant, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return "write %s" % close[0] if close else "write one of %s" % (", ".join(known) or "(there is none)")


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> List[str]:
    """Return a sentence for every table (rows and checksum) that is not as the manifest of a dump says."""
    said = []
    for table in sorted({*expected, *found}):
        old, new = expected.get(table), found.get(table)
        if new is None:
            said.append("%s is missing, has %d rows in the dump" % (table, expected[table]["rows"]))
        elif old is None:
            said.append("%s (%d rows) is not in the dump" % (table, new["rows"]))
        elif old != new:
            rows = "%d rows instead of %d" % (new["rows"], old["rows"])
            said.append("%s has %s" % (table, rows if old["rows"] != new["rows"] else "other rows"))
    return said


# --- commands ---


def plain(line: str) -> str:
    """Return what a line of restic's standard error says, whether it is JSON or not."""
    try:
        said = json.loads(line)
        error = said.get("error")
        text = error["message"] if isinstance(error, dict) else said["message"]
    except (ValueError, AttributeError, KeyError):
        return line.strip()
    return ("error: %s: %s" % (said["item"], text) if "item" in said else str(text)).partition("\n")[0]


class Answer(NamedTuple):
    """What a command said."""

    code: int
    out: str
    error: str

    @property
    def last_line(self) -> str:
        """The sentence it ended with."""
        lines = self.error.strip().splitlines()
        return lines[-1] if lines else "ended with %d" % self.code

    def lines(self) -> List[str]:
        """Return the complaints of restic; since 0.18 it writes some of them as JSON."""
        return [text for text in map(plain, self.error.splitlines()) if text]

    def complaint(self) -> str:
        """Return the line of restic that says most about a failure."""
        lines = self.lines()
        fatal = [line for line in lines if line.startswith("Fatal: ")]
        told = [line for line in lines if MISSING_WORDS.search(line) or "error" in line.lower()]
        line = [*fatal, *told, *lines[-1:], "restic ended with %d and said nothing" % self.code][0]
        return re.sub("^Fatal: ", "", line)[:300]

    @property
    def skipped(self) -> bool:
        """Whether restic passed over a path that is missing, which it takes for a success."""
        return any(MISSING_WORDS.search(line) for line in self.lines())


def ask(argv: Sequence[str], **keys: Any) -> Answer:
    """Run a command; return what it says. `keys`: its input and output, if they are others than usual."""
    if "input" not in keys:
        keys.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run(argv, check=False, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **keys})
    out, error = ((said or b"").decode("utf-8", "replace") for said in (done.stdout, done.stderr))
    return Answer(done.returncode, out, error)


def follow(argv: Sequence[str], hear: Callable[[str], None], complaints: bool = False) -> Answer:
    """Run a command whose lines, or whose complaints, are heard as they come; return what else it says."""
    with tempfile.TemporaryFile() as rest:
        out, error = (rest, subprocess.PIPE) if complaints else (subprocess.PIPE, rest)
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=error, encoding="utf-8", errors="replace"
        ) as process:
            try:
                for line in process.stdout or process.stderr or ():
                    hear(line)
            except BaseException:
                # Else it would be waited for.
                process.kill()
                raise
        rest.seek(0)
        said = rest.read().decode("utf-8", "replace")
        return Answer(process.returncode, *((said, "") if complaints else ("", said)))


def run(argv: Sequence[str], subject: str, **keys: Any) -> str:
    """Return what a command prints; raise FailedError, which begins with the subject, where it fails."""
    answer = ask(argv, **keys)
    if answer.code:
        raise FailedError("%s: %s" % (subject, answer.last_line))
    return answer.out


def docker(*words: str) -> str:
    """Return what a command of docker prints."""
    return run(["docker", *words], "docker " + words[0])


def mountpoint(volume: str) -> str:
    """Return where a volume lies on the node."""
    argv = ["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", "aicluster_" + volume]
    return run(argv, "volume " + volume).strip()


def require_answer(repository: str) -> None:
    """Raise FailedError where nobody answers for a repository: restic would try for a quarter of an hour."""
    address = urllib.parse.urlsplit(repository.partition("rest:")[2])
    if not address.hostname:
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname, port), CONNECT_S).close()
    except OSError as error:
        raise FailedError("%s:%d does not answer: %s" % (address.hostname, port, error))
