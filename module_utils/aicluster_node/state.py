"""What the node remembers of earlier runs."""

import json
import os

from . import system

STATE_FILE = "/var/lib/aicluster/state.json"


def read_state():
    """Return what the last run left.

    files        [path] of files we wrote; shared ones are not among them, as those stay
    fragments    {path of a shared JSON file: what `shared_files.overridden` returned}
    packages     [packages we installed]
    sources      [path of a package repository's file we added]
    pending      [[restart or reload, unit]] still owed
    provisioned  {service: [digest, ids of the containers it was provisioned in]}
    before       {service: {image, digest, at, snapshots} of before its image changed}; digest may be "", at
                 is in seconds since 1970, snapshots are as aicluster_backup.py names them
    engine       the file the engine last ran with, see `engine_start.last_ran_with`
    """
    state = {"files": [], "fragments": {}, "packages": [], "sources": [], "pending": [], "provisioned": {}}
    state.update(engine=None, before={})
    try:
        with open(STATE_FILE) as handle:
            state.update(json.load(handle))
    except (FileNotFoundError, ValueError):
        # A new node, or a torn file. What differs is found by comparing; only what no longer belongs and
        # what is still owed are forgotten.
        pass
    return state


def write_state(state):
    """Replace the state file atomically."""
    os.makedirs(os.path.dirname(STATE_FILE), mode=0o755, exist_ok=True)
    system.replace_file(STATE_FILE, json.dumps(state, sort_keys=True).encode(), 0o600, 0, 0)


def remember(request):
    """Keep what services were before their images change, instead of what was kept of an earlier change."""
    state = read_state()
    write_state(dict(state, before=dict(state["before"], **request["before"])))
    return {"changed": True}


def recall(_request):
    """Return what services were before their images changed."""
    return {"changed": False, "before": read_state()["before"]}
