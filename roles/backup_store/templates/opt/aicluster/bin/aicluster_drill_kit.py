"""What the drills of services share: how one answers, and how it reads a database of SQLite.

A drill is a program of a service, `drill FOLDER`, that finds out whether a restored copy is good. The folder
has the name of the job, and below it the paths of the snapshot (`staging/<job>`, `volumes/<volume>`). The
drill may write to it; all of it is deleted afterwards. The environment has DRILL_IMAGE and DRILL_UID, image
and user of the service. The drill prints one JSON object and exits with 0 or 1:

  ok        whether the copy is good
  evidence  one sentence: what was seen, or what is wrong
  rows      optional: name -> how many there are. What loses more than half of it in a day, fails.
  newest    optional: time of the newest record, in seconds since 1970
"""

import contextlib
import json
import os
import signal
import sqlite3
import sys
import urllib.parse
from typing import Any, Callable, Dict, Sequence

from aicluster_backup_tools import FailedError, end, said_by

# Containers of a drill have this label; whoever ends one abruptly finds them by it.
LABEL = "aicluster.drill"
Answer = Dict[str, Any]


def answer(drill: Callable[[str], Answer], folder: str) -> Answer:
    """Return what a drill says of a folder; whatever stops it, the copy is not proven."""
    try:
        return dict(drill(folder), ok=True)
    except (FailedError, OSError, ValueError, KeyError, sqlite3.Error) as error:
        return {"ok": False, "evidence": said_by(error)}


def main(drill: Callable[[str], Answer]) -> None:
    """Run a drill on the folder in the arguments."""
    [folder] = sys.argv[1:]
    signal.signal(signal.SIGTERM, end)
    found = answer(drill, folder)
    print(json.dumps(found))
    sys.exit(0 if found["ok"] else 1)


def staged(folder: str, *path: str) -> str:
    """Return where something is that the job wrote before it was copied."""
    return os.path.join(folder, "staging", os.path.basename(folder), *path)


def sqlite_rows(path: str, tables: Sequence[str]) -> Dict[str, int]:
    """Have a database of SQLite check itself in full; return the rows of some of its tables."""
    name = os.path.basename(path)
    if not os.path.isfile(path):
        raise FailedError("%s is not in the copy" % name)
    uri = "file:%s?mode=ro" % urllib.parse.quote(path)
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            [verdict] = database.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                raise FailedError("%s is damaged: %s" % (name, verdict))
            counted = [database.execute('SELECT count(*) FROM "%s"' % table).fetchone() for table in tables]
    except sqlite3.Error as error:
        raise FailedError("%s cannot be read: %s" % (name, error)) from None
    return {table: int(rows) for table, (rows,) in zip(tables, counted)}
