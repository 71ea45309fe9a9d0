"""The engine's next start: what it will read, and the way back when it does not start."""

import json
import os
import stat
import subprocess

from . import docker, storage, system
from .state import read_state, write_state
from .units import forget_starts

PROCESSES = "/proc"


def start_to_come(differing, pending, info):
    """Return what the engine's next start reads that its last one did not, None if there is no such thing.

    file: daemon.json to come; command; said: see `engine_said`; swarm: whether the node is a member of one;
    store: see `storage.store`; containers: whether the project has any.
    """
    texts = [item["after"] for item in differing if item["path"] == system.DAEMON_FILE]
    if any(unit == system.ENGINE_UNIT for _verb, unit in pending):
        texts.append(system.read_text(system.DAEMON_FILE) or "{}")
    if not texts:
        return None
    command = engine_command()
    return {
        "file": json.loads(texts[0]),
        "command": command,
        "said": engine_said(command, texts[0]),
        "swarm": os.path.exists(os.path.join(storage.docker_root(info), "swarm", "docker-state.json")),
        "store": storage.store(info, texts[0]),
        "containers": bool(docker.project_containers()),
    }


def engine_command():
    """Return the words the running engine was started with, program first; an empty list where none runs."""
    process = system.run(["systemctl", "show", "-p", "MainPID", "--value", system.ENGINE_UNIT]).strip() or "0"
    return system.read_text("%s/%s/cmdline" % (PROCESSES, process)).split("\0")[:-1]


def engine_said(command, text):
    """Return what is wrong with a daemon.json, in the engine's words, or ""; None: it cannot tell."""
    if os.path.basename((command or [""])[0]) != "dockerd":
        return None
    checker = command + ["--validate", "--config-file", "/dev/stdin"]
    try:
        done = subprocess.run(
            checker, input=text.encode(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
    except OSError:
        return None
    said = done.stdout.decode("utf-8", "replace")
    if "unknown flag: --validate" in said:
        return None  # engines before 23
    return said.strip() if done.returncode else ""


def last_ran_with(records):
    """Return what brings back the engine's file as it is: text (None: no file), mode, owner and records."""
    try:
        found = os.stat(system.DAEMON_FILE)
    except FileNotFoundError:
        return {"text": None, "notes": records}
    owner = {"mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    return dict(owner, text=system.read_text(system.DAEMON_FILE), notes=records)


def release(_request):
    """Give an engine that no longer starts its old file back; `hold.perform_held` ends the hold.

    engine: what was done, a sentence; empty where the engine runs or its file was not ours.
    """
    path, unit = system.DAEMON_FILE, system.ENGINE_UNIT
    state = read_state()
    before = state["engine"]
    if not before or is_active(unit):
        return {"changed": False, "engine": ""}
    if before["text"] is None:
        os.unlink(path)
    else:
        system.replace_file(path, before["text"].encode(), before["mode"], before["uid"], before["gid"])
    state["fragments"][path] = before["notes"]
    pending = [pair for pair in state["pending"] if pair[1] != unit]
    write_state(dict(state, pending=pending, engine=None))
    forget_starts([unit])
    system.run(["systemctl", "start", unit])
    how = "the engine runs with it" if is_active(unit) else "the engine does not start with it either"
    return {"changed": True, "engine": "%s is again what it was before this run; %s." % (path, how)}


def is_active(unit):
    """Return whether a unit runs."""
    return system.run(["systemctl", "is-active", unit]).strip() == "active"
