"""What of a snapshot a restore means: parts of jobs, chosen on the command line."""

import os
import posixpath
import re
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Sequence

import aicluster_backup_job as job_work
from aicluster_backup_tools import RefusedError, nearest, objects

VOLUME, SQLITE, DUMP, BESIDE = "volume", "sqlite", "dump", "beside"
# Of a snapshot's name, what people type.
SHORT = 8


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
    """A snapshot: of which job, in which copy and store, of which time."""

    job: str
    number: int
    store: str
    snapshot: str
    taken: str


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
        rest = path[len(part.source) :]
        if part.kind == SQLITE:
            only = [one for one in part.only if below("/volumes/%s/%s" % (part.volume, plain(one)), path)]
            if only:
                yield part._replace(only=only, name=path)
        elif path == part.source:
            yield part
        # A database lies in the volume, too, where it is not copied.
        elif below(path, part.source) and (part.kind != VOLUME or rest not in part.exclude):
            kind = VOLUME if part.kind == VOLUME else BESIDE
            yield part._replace(kind=kind, name=path, only=[literal(rest)], exclude=(), program="")


def parts_of(job: Mapping[str, Any], snapshot: Mapping[str, Any], options: Any) -> List[Part]:
    """Return the parts of a job that the command line means; [] where it means none of this job."""
    parts = list(all_parts(job, snapshot))
    if options.path:
        return list(path_parts(parts, options.path))
    if options.database or options.bucket:
        arguments = ["--database=" + name for name in options.database]
        only = ["/" + literal(options.bucket)] if options.bucket else []
        arguments += ["--bucket", options.bucket] if options.bucket else []
        return [
            part._replace(only=only, exclude=(), arguments=arguments) for part in parts if part.kind == DUMP
        ]
    return parts


def listed(source: Source, folder: str) -> Dict[str, Dict[str, Any]]:
    """Return path -> what a snapshot says of a folder and of everything directly in it."""
    answer = job_work.restic("ls", source.number, [source.snapshot, folder])
    return {said["path"]: said for said in objects(answer.out) if said.get("path")}


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
