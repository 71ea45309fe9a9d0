"""Tells whether a restored copy of the object store is good: its objects are there and can be read."""

import os
import random
from pathlib import Path

from aicluster_backup_tools import FailedError, digest
from aicluster_drill_kit import Answer, main, staged

READ_AT_MOST = 200


def drill(folder: str) -> Answer:
    """Count the objects of each bucket, and read some of them."""
    top = Path(staged(folder))
    if not top.is_dir():
        raise FailedError("the copy has no folder of buckets")
    buckets = {bucket.name: [one for one in bucket.rglob("*") if one.is_file()] for bucket in top.iterdir()}
    every = [str(path) for paths in buckets.values() for path in paths]
    chosen = random.sample(every, min(len(every), READ_AT_MOST))
    for path in chosen:
        digest(path)
    size = sum(map(os.path.getsize, chosen))
    evidence = "%d objects in %d buckets, %d read in full (%d MB)"
    return {
        "evidence": evidence % (len(every), len(buckets), len(chosen), size // 10**6),
        "rows": {bucket: len(paths) for bucket, paths in buckets.items()},
    }


if __name__ == "__main__":
    main(drill)
