# SPDX-License-Identifier: Apache-2.0
"""One part of a restore: a volume, a database of SQLite, a dump, or files that are laid beside."""

import contextlib
import difflib
import json
import os
import posixpath
import re
import shutil
import subprocess
import tempfile
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, NamedTuple, Sequence, Tuple

import aicluster_backup_job as job_work
from aicluster_backup_job import FailedError

ROOT = "/var/lib/aicluster/restore"
SERVICES = "/opt/aicluster"
CONTAINER = "aicluster-restore"
TARGET = "/target"
# Where nothing is, so that everything of a dump would be new.
NOWHERE = "/nowhere"
# What writes files with the owners they had, and nothing else.
CAPABILITIES = ("CHOWN", "FOWNER", "DAC_OVERRIDE")
# From one line of progress to the next.
PACE_S = 5.0
# Of a disk, what must stay free.
SPARE = 256 << 20
SHOWN = 10
# What restic says of a file -> what it means for the one that is there.
ACTIONS = {"restored": "new", "updated": "changed", "deleted": "deleted"}
VOLUME, SQLITE, DUMP, BESIDE = "volume", "sqlite", "dump", "beside"
SQLITE_FILES = ("", "-journal", "-shm", "-wal")
# Of a snapshot's name, what people type.
SHORT = 8
Tell = Callable[..., None]
Change = Dict[str, Any]


class RefusedError(Exception):
    """What is asked for is not possible; nothing was changed."""


class Part(NamedTuple):
    """What is brought back in one step."""

    kind: str
    name: str
    # A folder of the snapshot, and patterns below it.
    source: str
    only: Sequence[str] = ()
    exclude: Sequence[str] = ()
    volume: str = ""
    program: str = ""
    arguments: Sequence[str] = ()


class Source(NamedTuple):
    """A snapshot: of which job, in which copy."""

    job: str
    number: int
    snapshot: str


# --- what is meant ---


def nearest(word: str, known: Sequence[str]) -> str:
    """Return which of the known words was probably meant, or all of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return "write %s" % close[0] if close else "write one of %s" % (", ".join(known) or "(there is none)")


def below(path: str, folder: str) -> bool:
    """Tell whether a path is a folder or something in it."""
    return path == folder or path.startswith(folder + "/")


def plain(pattern: str) -> str:
    """Return the path that a pattern of `literal` means, without the slash before it."""
    return re.sub(r"\\(.)", r"\1", pattern)[1:]


def literal(path: str) -> str:
    """Return the pattern of restic that means a path and no other."""
    return re.sub(r"([\\*?\[])", r"\\\1", path)


def restorer_of(program: str) -> str:
    """Return the program that takes a dump back, the empty text where it is a list for people."""
    path = posixpath.join(posixpath.dirname(program), "restore")
    return path if os.path.isfile(path) else ""


def all_parts(job: Mapping[str, Any], snapshot: Mapping[str, Any]) -> Iterator[Part]:
    """Yield all parts of a job that a snapshot has: volumes first, then their databases, then dumps."""
    name, held = job["name"], [path for path in job["paths"] if path in snapshot["paths"]]
    for path in held:
        if path.startswith("/volumes/"):
            inside = [one[len(path) :] for one in job["exclude"] if below(one, path)]
            volume = path[len("/volumes/") :]
            yield Part(VOLUME, "volume " + volume, path, exclude=inside, volume=volume)
        elif path.startswith("/host/"):
            yield Part(BESIDE, path[len("/host") :], path)
    staging = "/staging/" + name
    if staging in held:
        for volume, files in sorted(job["sqlite"].items()):
            only = [literal("/" + file) for file in files]
            yield Part(SQLITE, "databases of " + volume, "%s/%s" % (staging, volume), only, volume=volume)
        for program in job["dumps"]:
            back, exclude = restorer_of(program), ["/" + literal(volume) for volume in job["sqlite"]]
            kind = DUMP if back else BESIDE
            yield Part(
                kind, ("dump of " if back else "list of ") + name, staging, exclude=exclude, program=back
            )


def path_parts(parts: Sequence[Part], path: str) -> Iterator[Part]:
    """Yield what brings back one path: as the snapshot names it, of the host, or below a volume."""
    path = posixpath.normpath(path)
    volumes = [part for part in parts if part.kind in (VOLUME, SQLITE)]
    if path.lstrip("/").split("/")[0] in [part.volume for part in volumes]:
        path = "/volumes/" + path.lstrip("/")
    if not path.startswith(("/volumes/", "/staging/", "/host/")):
        path = "/host" + path
    for part in parts:
        if part.kind == SQLITE:
            only = [one for one in part.only if "/volumes/%s%s" % (part.volume, one) == literal(path)]
            if only:
                yield part._replace(only=only, name=path)
        elif path == part.source:
            yield part
        elif below(path, part.source):
            kind = VOLUME if part.kind == VOLUME else BESIDE
            yield part._replace(
                kind=kind, name=path, only=[literal(path[len(part.source) :])], exclude=(), program=""
            )


def parts_of(job: Mapping[str, Any], snapshot: Mapping[str, Any], options: Any) -> List[Part]:
    """Return the parts of a job that the command line means; [] where it means none of this job."""
    parts = list(all_parts(job, snapshot))
    if options.path:
        found = list(path_parts(parts, options.path))
        # A database lies in the volume, too, where it is not copied.
        return [part for part in found if part.kind == SQLITE] or found
    if options.database or options.bucket:
        arguments = [word for name in options.database for word in ("--database", name)]
        only = ["/" + literal(options.bucket)] if options.bucket else []
        arguments += ["--bucket", options.bucket] if options.bucket else []
        return [
            part._replace(only=only, exclude=(), arguments=arguments) for part in parts if part.kind == DUMP
        ]
    return parts


def listed(source: Source, folder: str) -> Dict[str, Dict[str, Any]]:
    """Return path -> what a snapshot says of a folder and of everything directly in it."""
    answer = job_work.restic("ls", source.number, [source.snapshot, folder])
    found = {}
    for line in answer.out.splitlines():
        said = json.loads(line)
        if said.get("path"):
            found[said["path"]] = said
    return found


def require_paths(source: Source, parts: Sequence[Part]) -> None:
    """Raise RefusedError, with the nearest name, for a path that is not in the snapshot."""
    for part in parts:
        for pattern in part.only if part.kind != SQLITE else ():
            path = "%s/%s" % (part.source, plain(pattern))
            folder = posixpath.dirname(path)
            there = listed(source, folder)
            if path not in there:
                names = [posixpath.basename(one) for one in sorted(there) if one != folder]
                fix = nearest(posixpath.basename(path), names)
                raise RefusedError("snapshot %s has no %s: %s" % (source.snapshot[:SHORT], path, fix))


# --- what would change ---


def laid_out(source: Source, part: Part, folder: str) -> str:
    """Return where a part is written that does not go straight into a volume."""
    return posixpath.join(folder, source.job, part.volume or part.source.strip("/"))


def options_of(part: Part) -> List[str]:
    """Return the options that make restic write a part: a whole volume becomes what it was."""
    whole = part.kind == VOLUME and not part.only
    return [
        *(["--delete"] if whole else []),
        *("--include=" + pattern for pattern in part.only),
        *("--exclude=" + pattern for pattern in part.exclude),
    ]


def foreseen(source: Source, part: Part) -> Change:
    """Return what a part would change: {files, bytes, deleted, examples, stops, says}."""
    target = part.source if part.kind == VOLUME else NOWHERE
    answer = job_work.restic(
        "restore", source.number,
        ["%s:%s" % (source.snapshot, part.source), "--target=" + target, "--dry-run", "--verbose=2",
         *options_of(part)],
    )  # fmt: skip
    if answer.code:
        raise RefusedError("%s: %s" % (part.name, answer.complaint()))
    change = {"files": 0, "bytes": 0, "deleted": 0, "examples": []}  # type: Change
    for said in map(json.loads, answer.out.splitlines()):
        action = said.get("action")
        if action in ACTIONS:
            if len(change["examples"]) < SHOWN:
                change["examples"].append("%s %s" % (ACTIONS[action], said["item"]))
        if said.get("message_type") == "summary":
            change["files"] = said.get("files_restored", 0)
            change["bytes"] = said.get("bytes_restored", 0)
            change["deleted"] = said.get("files_deleted", 0)
    change["stops"] = users_of(part.volume) if part.kind in (VOLUME, SQLITE) else []
    change["says"] = asked(source, part) if part.kind == DUMP else []
    return change


def asked(source: Source, part: Part) -> List[str]:
    """Return what the program of a service says would change, from the dump's manifest if it has one."""
    manifest = "%s/manifest.json" % part.source
    with tempfile.TemporaryDirectory() as folder:
        if manifest in listed(source, part.source):
            answer = job_work.restic("dump", source.number, [source.snapshot, manifest])
            if answer.code:
                raise RefusedError("%s: %s" % (part.name, answer.complaint()))
            with open(folder + "/manifest.json", "w") as handle:
                handle.write(answer.out)
        done = subprocess.run(
            [part.program, "--check", folder, *part.arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
    if done.returncode:
        raise RefusedError(last_line(done.stderr, done.returncode))
    return done.stdout.decode("utf-8", "replace").splitlines()


def last_line(said: bytes, code: int) -> str:
    """Return the sentence a program ended with."""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "ended with %d" % code


def size_of(path: str) -> int:
    """Return how many bytes a folder takes on its disk; 0 where there is none."""
    done = subprocess.run(
        ["du", "--summarize", "--block-size=1", path],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return int(done.stdout.split()[0]) if done.stdout else 0


def place_of(part: Part) -> str:
    """Return the file or folder of the node that a part of a volume replaces."""
    place = job_work.mountpoint(part.volume)
    if part.kind == VOLUME and part.only:
        return posixpath.join(place, plain(part.only[0]))
    return place


def require_room(pairs: Sequence[Tuple[Part, Change]], safety: bool) -> None:
    """Raise RefusedError unless the disks have room for what is written and for the copies made before."""
    os.makedirs(ROOT, mode=0o700, exist_ok=True)
    needed = {}  # type: Dict[int, Tuple[str, int]]

    def need(path: str, count: int) -> None:
        device = os.stat(path).st_dev
        needed[device] = (path, needed.get(device, ("", 0))[1] + count)

    for part, change in pairs:
        in_volume = part.kind == VOLUME
        need(job_work.mountpoint(part.volume) if in_volume else ROOT, change["bytes"])
        if safety and in_volume:
            need(ROOT, size_of(place_of(part)))
        elif safety and part.kind == DUMP:
            # As large as what is brought back, as far as anybody knows.
            need(ROOT, change["bytes"])
    for path, count in needed.values():
        free = shutil.disk_usage(path).free
        if free < count + SPARE:
            raise RefusedError(
                "%s: %d MB free, %d MB needed; make room there%s"
                % (path, free // 10**6, (count + SPARE) // 10**6,
                   ", or restore without a copy of what is there (--no-safety-copy)" if safety else "")
            )  # fmt: skip


# --- containers ---


def docker(*words: str) -> str:
    """Return what a command of docker prints; raise FailedError when it fails."""
    done = subprocess.run(
        ["docker", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise FailedError("docker %s: %s" % (words[0], last_line(done.stderr, done.returncode)))
    return done.stdout.decode("utf-8", "replace")


def note_of(volume: str) -> str:
    """Return the file with the containers that a restore of a volume stopped and did not start again."""
    return "%s/%s.stopped" % (ROOT, volume)


def users_of(volume: str) -> List[str]:
    """Return the containers that run and use a volume, and those that an earlier restore left stopped."""
    names = docker("ps", "--filter", "volume=aicluster_" + volume, "--format", "{{.Names}}").split()
    with contextlib.suppress(FileNotFoundError):
        with open(note_of(volume)) as handle:
            names += handle.read().split()
    return sorted({name for name in names if name not in ("backup", CONTAINER)})


@contextlib.contextmanager
def stopped(users: Mapping[str, Sequence[str]], tell: Tell) -> Iterator[None]:
    """Stop the containers of volumes, and start them again; after a failure they stay stopped."""
    names = sorted({name for own in users.values() for name in own})
    if not names:
        yield
        return
    for volume, own in users.items():
        with open(note_of(volume), "w") as handle:
            handle.write("\n".join(own))
    tell("stop", containers=names)
    docker("stop", *names)
    try:
        yield
    except FailedError as error:
        raise FailedError("%s; stopped for it: %s (run the restore again)" % (error, ", ".join(names)))
    docker("start", *names)
    for volume in users:
        os.remove(note_of(volume))
    tell("start", containers=names)


def end_leftovers() -> None:
    """Remove the container of a restore that was interrupted."""
    with contextlib.suppress(FailedError):
        docker("rm", "--force", CONTAINER)


def container_of(target: str) -> List[str]:
    """Return the command that runs restic as the container of backups does, but may write one folder."""
    [known] = json.loads(docker("inspect", "backup"))
    environment = [
        one for one in known["Config"]["Env"] if not one.startswith(("PATH=", "RESTIC_PROGRESS_FPS="))
    ]
    return [
        "docker", "run", "--rm", "--pull=never", "--name=" + CONTAINER, "--network=host", "--user=0:0",
        "--read-only", "--cap-drop=ALL", *("--cap-add=" + name for name in CAPABILITIES),
        "--security-opt=no-new-privileges", "--log-driver=none",
        "--memory=%d" % known["HostConfig"]["Memory"], *("--env=" + one for one in environment),
        "--env=RESTIC_PROGRESS_FPS=0.5", "--entrypoint=restic",
        "--volume=%s:%s:ro" % (job_work.SECRETS, job_work.IN_CONTAINER),
        "--volume=aicluster_backup_cache:/cache",
        "--volume=%s:%s" % (target, TARGET), known["Image"],
    ]  # fmt: skip


# --- bringing back ---


class Pace:
    """Tells how far a step is, and how long the rest takes at this pace."""

    def __init__(self, tell: Tell, **words: Any) -> None:
        """`words` name the step."""
        self.tell, self.words, self.began = tell, words, time.monotonic()
        self.next_s, self.full = PACE_S, False

    def __call__(self, done: int, total: int) -> None:
        """Tell how many of the bytes are done, unless that was told a moment ago."""
        took, full = time.monotonic() - self.began, done == total > 0
        if self.full or (took < self.next_s and not full):
            return
        self.next_s, self.full = took + PACE_S, full
        left = round(took * (total - done) / done) if done else None
        self.tell("progress", bytes=done, total=total, seconds_left=left, **self.words)


def unpack(source: Source, part: Part, target: str, pace: Pace) -> None:
    """Write a part of a snapshot into a folder with owners and modes, and read it again."""
    argv = [
        *container_of(target), "restore", "%s:%s" % (source.snapshot, part.source),
        "--target=" + TARGET, "--verify",
        "--repository-file=%s/store_%d" % (job_work.IN_CONTAINER, source.number),
        "--retry-lock=" + job_work.LOCK_LIMIT, "--json", *options_of(part),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, universal_newlines=True
        ) as process:
            assert process.stdout
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    event = json.loads(line)
                    if event.get("message_type") in ("status", "summary"):
                        pace(event.get("bytes_restored", 0), event.get("total_bytes", 0))
        errors.seek(0)
        answer = job_work.Answer(process.returncode, "", errors.read().decode("utf-8", "replace"))
    if answer.code:
        raise FailedError("%s: %s" % (part.name, answer.complaint()), answer.code)


def own_root(source: Source, part: Part) -> None:
    """Give the folder of a volume the owner and mode it had: restic sets those of what is in it."""
    said = listed(source, part.source).get(part.source)
    if said:
        place = job_work.mountpoint(part.volume)
        os.chown(place, said["uid"], said["gid"])
        os.chmod(place, said["mode"] & 0o7777)


def keep_volume(part: Part, folder: str) -> None:
    """Copy what a part of a volume replaces into a folder."""
    place, target = job_work.mountpoint(part.volume), posixpath.join(folder, part.volume)
    os.makedirs(target, mode=0o700, exist_ok=True)
    whole = part.kind == VOLUME and not part.only
    names = ["."] if whole else [plain(pattern) + end for pattern in part.only for end in SQLITE_FILES]
    there = [name for name in names if os.path.lexists(posixpath.join(place, name))]
    if there:
        argv = ["cp", "--archive", "--parents", "--reflink=auto", "--", *there, target]
        done = subprocess.run(argv, cwd=place, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise FailedError("no copy of %s: %s" % (place, last_line(done.stderr, done.returncode)))


def put_databases(part: Part, folder: str) -> None:
    """Replace databases of SQLite, whose programs are stopped, by copies in a folder."""
    place = job_work.mountpoint(part.volume)
    for pattern in part.only:
        name = plain(pattern)
        source, target = posixpath.join(folder, name), posixpath.join(place, name)
        state = os.stat(source)
        os.makedirs(posixpath.dirname(target), exist_ok=True)
        shutil.copyfile(source, target + ".aicluster-new")
        os.chown(target + ".aicluster-new", state.st_uid, state.st_gid)
        os.chmod(target + ".aicluster-new", state.st_mode & 0o7777)
        for end in SQLITE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.remove(target + end)
        os.rename(target + ".aicluster-new", target)


def run_program(argv: Sequence[str], tell: Tell, **words: Any) -> None:
    """Run the program of a service; its lines of JSON are progress, its other lines are told."""
    pace = Pace(tell, **words)
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            universal_newlines=True,
        ) as process:
            assert process.stdout
            for line in process.stdout:
                try:
                    said = json.loads(line)
                    pace(said["bytes"], said["total"])
                except (ValueError, KeyError, TypeError):
                    tell("said", message=line.strip(), **words)
        errors.seek(0)
        said = errors.read()
    if process.returncode:
        raise FailedError("%s: %s" % (argv[0], last_line(said, process.returncode)))


def lay_out(source: Source, parts: Sequence[Part], folder: str, tell: Tell) -> None:
    """Write what does not go straight into a volume below a folder."""
    for part in parts:
        if part.kind != VOLUME:
            target = laid_out(source, part, folder)
            os.makedirs(target, mode=0o700, exist_ok=True)
            unpack(source, part, target, Pace(tell, job=source.job, what=part.name))
            if part.kind == BESIDE:
                tell("beside", job=source.job, what=part.name, folder=target)


def fill_volumes(source: Source, parts: Sequence[Part], folder: str, safety: bool, tell: Tell) -> None:
    """Bring back volumes and their databases, whose containers are stopped; copy what is there before."""
    whole = [part.volume for part in parts if part.kind == VOLUME]
    for part in parts if safety else ():
        if part.kind == VOLUME or (part.kind == SQLITE and part.volume not in whole):
            keep_volume(part, folder + "/before")
            tell("kept", job=source.job, what=part.name, folder=folder + "/before")
    for part in parts:
        if part.kind == VOLUME:
            place = job_work.mountpoint(part.volume)
            unpack(source, part, place, Pace(tell, job=source.job, what=part.name))
            if not part.only:
                own_root(source, part)
    for part in parts:
        if part.kind == SQLITE:
            put_databases(part, laid_out(source, part, folder))
            shutil.rmtree(laid_out(source, part, folder))


def take_back(source: Source, part: Part, folder: str, options: Any, tell: Tell) -> None:
    """Let the program of a service take its dump back; its own backup copies what is there before."""
    dump, before = laid_out(source, part, folder), "%s/before/%s" % (folder, source.job)
    if options.safety:
        os.makedirs(before, mode=0o700)
        backup = [posixpath.dirname(part.program) + "/backup", before]
        run_program([*backup, *([options.bucket] if options.bucket else [])], tell, job=source.job)
        tell("kept", job=source.job, what=part.name, folder=before)
    run_program([part.program, dump, *part.arguments], tell, job=source.job, what=part.name)
    shutil.rmtree(dump)


def bring_back(
    source: Source,
    parts: Sequence[Part],
    users: Mapping[str, Sequence[str]],
    folder: str,
    options: Any,
    tell: Tell,
) -> None:
    """Bring back the parts of one job; `users`: volume -> the containers that are stopped for it.

    What comes from a store is written beside first, as far as it does not go straight into a volume.
    """
    lay_out(source, parts, folder, tell)
    with stopped(users, tell):
        fill_volumes(source, parts, folder, options.safety, tell)
    for part in parts:
        if part.kind == DUMP:
            take_back(source, part, folder, options, tell)
        tell("done", job=source.job, what=part.name)
