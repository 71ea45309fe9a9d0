# SPDX-License-Identifier: Apache-2.0
"""Tells whether a restored copy of JupyterHub is good: its database is sound, and notebooks can be read.

The database and the homes are two jobs; each is asked for what it has.
"""

import json
import os
import random
from typing import List

from aicluster_backup_tools import FailedError
from aicluster_drill_kit import Answer, main, sqlite_rows, staged

READ_AT_MOST = 50


def notebooks_below(folder: str) -> List[str]:
    """Return the paths of all notebooks."""
    return [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.endswith(".ipynb")
    ]


def is_notebook(path: str) -> bool:
    """Tell whether a file is one: JSON with the version of its format."""
    try:
        with open(path, "rb") as file:
            return "nbformat" in json.loads(file.read().decode())
    except (ValueError, TypeError):
        return False


def drill(folder: str) -> Answer:
    """Read the database, or some notebooks."""
    if os.path.basename(folder) == "jupyterhub":
        rows = sqlite_rows(staged(folder, "jupyterhub_state", "jupyterhub.sqlite"), ["users"])
        return {"evidence": "jupyterhub.sqlite is sound and has %d users" % rows["users"], "rows": rows}
    found = notebooks_below(folder)
    chosen = random.sample(found, min(len(found), READ_AT_MOST))
    # Users may leave one that never was any; of many, all cannot be broken.
    good = sum(map(is_notebook, chosen))
    if chosen and not good:
        raise FailedError("none of %d notebooks can be read, such as %s" % (len(chosen), chosen[0]))
    evidence = "%d notebooks, %d of %d opened can be read" % (len(found), good, len(chosen))
    return {"evidence": evidence, "rows": {"notebooks": len(found)}}


if __name__ == "__main__":
    main(drill)
