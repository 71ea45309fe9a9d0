"""What the backup of a node copies, service by service, as paths of the container that copies it.

Source: the entries in `backup` of the services of the node.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..engine.files import STACK_ROOT
from ..site.replication import is_standby
from .stores import COPIES, Node, stores_of

# Where the container has the folder of dumps, the volumes and the paths of the host.
STAGING, VOLUMES, HOST = "/staging", "/volumes", "/host"
# A database file, and the files that SQLite keeps beside it.
SQLITE_FILES = ("", "-journal", "-shm", "-wal")
BULK = "_bulk"

Kept = Mapping[str, Any]


def kept_by(entry: Mapping[str, Any]) -> list[Kept]:
    """Return what a service keeps: its entries in `backup` without those that say `none`.

    A standby keeps nothing: its primary does.
    """
    if is_standby(entry):
        return []
    return [kept for kept in entry.get("backup") or () if "none" not in kept]


def has_data(entry: Mapping[str, Any]) -> bool:
    """Tell whether a service keeps data of its own, in a volume."""
    return any("volume" in kept for kept in kept_by(entry))


def copies_of(kept: Kept) -> int:
    """Return how many copies there are of what an entry keeps."""
    return int(kept.get("copies", COPIES))


def folder_of(kept: Kept) -> str:
    """Return where the container finds the files of an entry, the empty text if a dump writes them."""
    if "dump" in kept:
        return ""
    return f"{VOLUMES}/{kept['volume']}" if "volume" in kept else f"{HOST}{kept['path'].rstrip('/')}"


def excluded(kept: Kept) -> Iterator[str]:
    """Yield what is not copied below the folder of an entry; database files are, from the staging folder."""
    for path in kept.get("exclude", ()):
        yield f"{folder_of(kept)}/{path}"
    for path in kept.get("sqlite", ()):
        yield from (f"{folder_of(kept)}/{path}{end}" for end in SQLITE_FILES)


def job(service: str, name: str, entries: Sequence[Kept]) -> dict[str, Any]:
    """Return the job that copies some entries of a service, all of them equally often."""
    dumps = [f"{STACK_ROOT}/{service}/{kept['dump']}" for kept in entries if "dump" in kept]
    sqlite = {kept["volume"]: list(kept["sqlite"]) for kept in entries if kept.get("sqlite")}
    staging = [f"{STAGING}/{name}"] if dumps or sqlite else []
    return {
        "name": name,
        "dumps": dumps,
        "sqlite": sqlite,
        "paths": [*staging, *filter(None, map(folder_of, entries))],
        "exclude": [path for kept in entries for path in excluded(kept)],
        "copies": copies_of(entries[0]),
    }


def jobs_of(service: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the jobs of a service: one, or a second one for what has fewer copies; [] keeps nothing."""
    by_copies: dict[int, list[Kept]] = {}
    for kept in kept_by(entry):
        by_copies.setdefault(copies_of(kept), []).append(kept)
    most = max(by_copies, default=0)
    return [
        job(service, service if copies == most else f"{service}{BULK}", by_copies[copies])
        for copies in sorted(by_copies, reverse=True)
    ]


def backup_jobs(nodes: Sequence[Node], host: str) -> dict[str, Any]:
    """Return what the backup of the node `host` does: node and stores (names), and its jobs in order.

    Job: name; dumps (programs of the host to run before); sqlite (volume -> database files to copy into the
    staging folder before); paths and exclude, of the container; copies (how many of the stores have it).
    """
    node = next(node for node in nodes if node["host"] == host)
    return {
        "node": node["name"],
        "stores": [store["name"] for store in stores_of(nodes, host)],
        "jobs": [job for service, entry in node["services"].items() for job in jobs_of(service, entry)],
    }


def backup_mounts(nodes: Sequence[Node], host: str) -> dict[str, list[str]]:
    """Return what the container that copies needs of the node `host`: volumes and paths, each sorted."""
    node = next(node for node in nodes if node["host"] == host)
    files = [kept for entry in node["services"].values() for kept in kept_by(entry) if "dump" not in kept]
    return {f"{key}s": sorted({kept[key] for kept in files if key in kept}) for key in ("volume", "path")}
