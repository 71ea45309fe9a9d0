"""Tells whether a restored copy of JupyterHub is good: its database is sound, and notebooks can be read.

The database and the homes are two jobs; each is asked for what it has.
"""

import json
import os
import random
from pathlib import Path

from aicluster_backup_tools import FailedError
from aicluster_drill_kit import Answer, main, sqlite_rows, staged

READ_AT_MOST = 50


def is_notebook(path: Path) -> bool:
    """Tell whether a file is one: JSON with the version of its format."""
    try:
        return "nbformat" in json.loads(path.read_text("utf-8"))
    except (ValueError, TypeError):
        return False


def drill(folder: str) -> Answer:
    """Read the database, or some notebooks."""
    if os.path.basename(folder) == "jupyterhub":
        rows = sqlite_rows(staged(folder, "jupyterhub_state", "jupyterhub.sqlite"), ["users"])
        return {"evidence": "jupyterhub.sqlite is sound and has %d users" % rows["users"], "rows": rows}
    found = [path for path in Path(folder).rglob("*.ipynb") if path.is_file()]
    chosen = random.sample(found, min(len(found), READ_AT_MOST))
    # Users may leave one that never was any; of many, all cannot be broken.
    good = sum(map(is_notebook, chosen))
    if chosen and not good:
        raise FailedError("none of %d notebooks can be read, such as %s" % (len(chosen), chosen[0]))
    evidence = "%d notebooks, %d of %d opened can be read" % (len(found), good, len(chosen))
    return {"evidence": evidence, "rows": {"notebooks": len(found)}}


if __name__ == "__main__":
    main(drill)
