# SPDX-License-Identifier: Apache-2.0
"""Tells whether a restored copy of the object store is good: its objects are there and can be read."""

import os
import random
from typing import Dict, List

from aicluster_backup_tools import FailedError
from aicluster_drill_kit import Answer, main, staged

READ_AT_MOST = 200


def objects_in(folder: str) -> Dict[str, List[str]]:
    """Return bucket -> paths of its objects."""
    return {
        bucket: [
            os.path.join(parent, name)
            for parent, _, names in os.walk(os.path.join(folder, bucket))
            for name in names
        ]
        for bucket in sorted(os.listdir(folder))
    }


def read(path: str) -> int:
    """Read an object to its end; return its bytes."""
    size = 0
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            size += len(part)
    return size


def drill(folder: str) -> Answer:
    """Count the objects of each bucket, and read some of them."""
    top = staged(folder)
    if not os.path.isdir(top):
        raise FailedError("the copy has no folder of buckets")
    buckets = objects_in(top)
    every = [path for paths in buckets.values() for path in paths]
    chosen = random.sample(every, min(len(every), READ_AT_MOST))
    size = sum(map(read, chosen))
    evidence = "%d objects in %d buckets, %d read in full (%d MB)"
    return {
        "evidence": evidence % (len(every), len(buckets), len(chosen), size // 10**6),
        "rows": {bucket: len(paths) for bucket, paths in buckets.items()},
    }


if __name__ == "__main__":
    main(drill)
