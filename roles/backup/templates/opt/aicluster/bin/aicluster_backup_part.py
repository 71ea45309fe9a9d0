"""One part of a restore: a volume, a database of SQLite, a dump, or files that are laid beside."""

import contextlib
import json
import os
import posixpath
import shutil
import tempfile
import time
from typing import Any, Dict, Iterable, Iterator, List, Sequence, Tuple

import aicluster_backup_job as job_work
import aicluster_backup_tools as tools
from aicluster_backup_choice import BESIDE, DUMP, SQLITE, VOLUME, Part, Source, listed, plain
from aicluster_backup_restic import MAY_RESTORE, beside, by_name
from aicluster_backup_tools import FailedError, RefusedError, docker, megabytes, mountpoint, say

ROOT = "/var/lib/aicluster/restore"
CONTAINER = "aicluster-restore"
TARGET = "/target"
# Where nothing is, so that everything of a dump would be new.
NOWHERE = "/nowhere"
# From one line of progress to the next.
PACE_S = 5.0
# Of a disk, what must stay free.
SPARE = 256 << 20
SHOWN = 10
# What restic says of a file -> what it means for the one that is there.
ACTIONS = {"restored": "new", "updated": "changed", "deleted": "deleted"}
SQLITE_FILES = ("", "-journal", "-shm", "-wal")
KEPT = "%s: what was there is now in %s"
Change = Dict[str, Any]


# --- what would change ---


def named(source: Source, part: Part) -> str:
    """Return what a person reads of a part."""
    return "%s: %s" % (source.job, part.name)


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
    for said in tools.objects(answer.out):
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
        said = tools.ask([part.program, "--check", folder, *part.arguments])
    if said.code:
        raise RefusedError(said.last_line)
    return said.out.splitlines()


def place_of(part: Part) -> str:
    """Return the file or folder of the node that a part of a volume replaces."""
    place = mountpoint(part.volume)
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
        need(mountpoint(part.volume) if in_volume else ROOT, change["bytes"])
        if safety and in_volume:
            need(ROOT, tools.size_of(place_of(part)))
        elif safety and part.kind == DUMP:
            # As large as what is brought back, as far as anybody knows.
            need(ROOT, change["bytes"])
    for path, count in needed.values():
        other = ", or restore without a copy of what is there (--no-safety-copy)" if safety else ""
        tools.require_room(path, count + SPARE, "; make room there" + other, RefusedError)


# --- containers ---


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
def stopped(volumes: Iterable[str]) -> Iterator[None]:
    """Stop the containers of volumes, and start them again; after a failure they stay stopped."""
    users = {volume: users_of(volume) for volume in volumes}
    names = sorted({name for own in users.values() for name in own})
    if not names:
        yield
        return
    for volume, own in users.items():
        with open(note_of(volume), "w") as handle:
            handle.write("\n".join(own))
    say("stop %s" % ", ".join(names))
    docker("stop", *names)
    try:
        yield
    except FailedError as error:
        raise FailedError("%s; stopped for it: %s (run the restore again)" % (error, ", ".join(names)))
    docker("start", *names)
    for volume in users:
        os.remove(note_of(volume))
    say("start %s" % ", ".join(names))


def end_leftovers() -> None:
    """Remove the container of a restore that was interrupted."""
    with contextlib.suppress(FailedError):
        docker("rm", "--force", CONTAINER)


def container_of(target: str, number: int) -> List[str]:
    """Return the command that runs restic as the container of backups does, but may write one folder."""
    options = [
        "--name=" + CONTAINER, "--network=host", "--user=0:0", *MAY_RESTORE,
        "--env=RESTIC_PROGRESS_FPS=0.5", *by_name([*job_work.offsite] if number == job_work.OFFSITE else []),
        "--volume=%s:%s:ro" % (job_work.SECRETS, job_work.IN_CONTAINER),
        "--volume=aicluster_backup_cache:/cache", "--volume=%s:%s" % (target, TARGET),
    ]  # fmt: skip
    return beside(job_work.SAME, options)


# --- bringing back ---


class Pace:
    """Says how far a step is, and how long the rest takes at this pace."""

    def __init__(self, step: str) -> None:
        """`step`: its name."""
        self.step, self.began, self.next_s = step, time.monotonic(), PACE_S

    def __call__(self, done: int, total: int) -> None:
        """Say how many of the bytes are done, unless that was said a moment ago."""
        took = time.monotonic() - self.began
        if took < self.next_s:
            return
        self.next_s = took + PACE_S
        left = ", %d s left" % (took * (total - done) / done) if done else ""
        say("%s: %s of %s%s" % (self.step, megabytes(done), megabytes(total), left))


def unpack(source: Source, part: Part, target: str) -> None:
    """Write a part of a snapshot into a folder with owners and modes, and read it again."""
    pace = Pace(named(source, part))
    argv = [
        *container_of(target, source.number), "restore", "%s:%s" % (source.snapshot, part.source),
        "--target=" + TARGET, "--verify",
        *job_work.repository_of(source.number),
        job_work.NO_LOCK, "--json", *options_of(part),
    ]  # fmt: skip

    def hear(line: str) -> None:
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if event.get("message_type") in ("status", "summary"):
                pace(event.get("bytes_restored", 0), event.get("total_bytes", 0))

    answer = tools.follow(argv, hear)
    if answer.code:
        raise FailedError("%s: %s" % (part.name, answer.complaint()), answer.code)


def own_root(source: Source, part: Part) -> None:
    """Give the folder of a volume the owner and mode it had: restic sets those of what is in it."""
    said = listed(source, part.source).get(part.source)
    if said:
        place = mountpoint(part.volume)
        os.chown(place, said["uid"], said["gid"])
        os.chmod(place, said["mode"] & 0o7777)


def keep_volume(part: Part, folder: str) -> None:
    """Copy what a part of a volume replaces into a folder."""
    place, target = mountpoint(part.volume), posixpath.join(folder, part.volume)
    os.makedirs(target, mode=0o700, exist_ok=True)
    whole = part.kind == VOLUME and not part.only
    names = ["."] if whole else [plain(pattern) + end for pattern in part.only for end in SQLITE_FILES]
    there = [name for name in names if os.path.lexists(posixpath.join(place, name))]
    if there:
        argv = ["cp", "--archive", "--parents", "--reflink=auto", "--", *there, target]
        tools.run(argv, "no copy of " + place, cwd=place)


def put_databases(part: Part, folder: str) -> None:
    """Replace databases of SQLite, whose programs are stopped, by copies in a folder."""
    place = mountpoint(part.volume)
    for pattern in part.only:
        name = plain(pattern)
        source, target = posixpath.join(folder, name), posixpath.join(place, name)
        os.makedirs(posixpath.dirname(target), exist_ok=True)
        tools.run(["cp", "--archive", "--", source, target + ".aicluster-new"], target)
        for end in SQLITE_FILES:
            with contextlib.suppress(FileNotFoundError):
                os.remove(target + end)
        os.rename(target + ".aicluster-new", target)


def run_program(argv: Sequence[str], step: str) -> None:
    """Run the program of a service; its lines of JSON are progress, its other lines are for people."""
    pace = Pace(step)

    def hear(line: str) -> None:
        try:
            said = json.loads(line)
            pace(said["bytes"], said["total"])
        except (ValueError, KeyError, TypeError):
            say("%s: %s" % (step, line.strip()))

    answer = tools.follow(argv, hear)
    if answer.code:
        raise FailedError("%s: %s" % (argv[0], answer.last_line))


def lay_out(source: Source, parts: Sequence[Part], folder: str) -> None:
    """Write what does not go straight into a volume below a folder."""
    for part in parts:
        if part.kind != VOLUME:
            target = laid_out(source, part, folder)
            os.makedirs(target, mode=0o700, exist_ok=True)
            unpack(source, part, target)
            if part.kind == BESIDE:
                say("%s: laid into %s, nothing was replaced" % (named(source, part), target))


def fill_volumes(source: Source, parts: Sequence[Part], folder: str, safety: bool) -> None:
    """Bring back volumes and their databases, whose containers are stopped; copy what is there before."""
    whole = [part.volume for part in parts if part.kind == VOLUME]
    for part in parts if safety else ():
        if part.kind == VOLUME or (part.kind == SQLITE and part.volume not in whole):
            keep_volume(part, folder + "/before")
            say(KEPT % (named(source, part), folder + "/before"))
    for part in parts:
        if part.kind == VOLUME:
            unpack(source, part, mountpoint(part.volume))
            if not part.only:
                own_root(source, part)
    for part in parts:
        if part.kind == SQLITE:
            put_databases(part, laid_out(source, part, folder))
            shutil.rmtree(laid_out(source, part, folder))


def take_back(source: Source, part: Part, folder: str, options: Any) -> None:
    """Let the program of a service take its dump back; its own backup copies what is there before."""
    dump, before = laid_out(source, part, folder), "%s/before/%s" % (folder, source.job)
    if options.safety:
        os.makedirs(before, mode=0o700)
        backup = [posixpath.dirname(part.program) + "/backup", before]
        run_program([*backup, *([options.bucket] if options.bucket else [])], source.job + ": copy before")
        say(KEPT % (named(source, part), before))
    run_program([part.program, dump, *part.arguments], named(source, part))
    shutil.rmtree(dump)


def bring_back(source: Source, parts: Sequence[Part], folder: str, options: Any) -> None:
    """Bring back the parts of one job.

    What comes from a store is written beside first, as far as it does not go straight into a volume.
    """
    lay_out(source, parts, folder)
    with stopped({part.volume for part in parts if part.kind in (VOLUME, SQLITE)}):
        fill_volumes(source, parts, folder, options.safety)
    for part in parts:
        if part.kind == DUMP:
            take_back(source, part, folder, options)
        say("%s: done" % named(source, part))
