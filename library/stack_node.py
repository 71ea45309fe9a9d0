#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""One round trip to a node: what differs from its desired state, or: put these files in place."""

from __future__ import absolute_import, division, print_function

__metaclass__ = type

DOCUMENTATION = r"""
module: stack_node
short_description: Bring a node to its desired state with one question and one archive
description:
  - The engine of the toolkit. The controller renders the desired state of the whole node, asks the node once
    what differs, and sends only that.
options:
  phase:
    description:
      - V(plan) changes nothing and returns what differs. It fails with everything on the node that stands in
        the way, before anything is changed there.
      - V(take) holds the node for this run, before anything is changed there; so does each later phase. While
        another run holds it, they fail and say whose it is.
      - V(note) writes down which packages of a plan, and which files of their repository, are not on the node
        yet, for a cleanup one day.
      - V(fetch) pulls the images a plan misses and the engine lacks, before any file of a service moves.
      - V(ship) sends the files a plan names as one archive. The node validates them beside their targets, and
        only when all of them pass moves each one into place with a rename. Files that no longer belong go.
      - V(reacted) notes that the restarts and reloads of a plan were carried out.
      - V(commit) asks once more, fails if anything still differs, and ends what V(take) began.
      - V(release) ends it, too. An engine that does not start with a new file gets back its old one.
      - V(leave) takes our part out of every file shared with others, for a cleanup.
    type: str
    choices: [plan, take, note, fetch, ship, reacted, commit, release, leave]
    required: true
  part:
    description: Which half of a plan V(ship) and V(reacted) are about; V(engine) comes before the images.
    type: str
    choices: [lay, engine]
    default: lay
  refuse:
    description: With V(plan), whether to fail with what stands in the way, or only to return it.
    type: bool
    default: true
  plan:
    description: What V(plan) returned; for the other phases.
    type: dict
    default: {}
attributes:
  check_mode: {support: full, description: V(plan) predicts; nothing else is done in check mode.}
  diff_mode: {support: full, description: The text of every changed file that is not a secret.}
author: [AI cluster toolkit authors]
"""

EXAMPLES = r"""
- name: Ask the node what differs from its desired state
  stack_node:
    phase: plan
  register: __stack_plan
"""

RETURN = r"""
lay:
  description: Work below the containers (packages, files, remove, reactions, units, daemon_reload).
  type: dict
  returned: phase is plan
raise:
  description: Work on containers (containers, orphans, sleepers, restless, provision, empty, settle).
  type: dict
  returned: phase is plan
engine:
  description: What of RV(lay), in its shape, must be done before images are pulled.
  type: dict
  returned: phase is plan
images:
  description: The images that are missing on the node.
  type: list
  returned: phase is plan
complaints:
  description: What stands in the way, one sentence each.
  type: list
  returned: phase is plan
lines:
  description: The plan for people, one difference a line.
  type: list
  returned: phase is plan
facts:
  description: The few facts of the node the toolkit uses.
  type: dict
  returned: phase is plan or commit
"""

# What the controller sends (`request`, base64 of JSON: it needs no quoting inside this source):
#   phase        inspect, take, note, fetch, ship, reacted, release or leave
#   run          who holds the node, see `hold`;    over: the run that is known to be dead
#   files        [{path, sha256, accept, mode, uid, gid, text, fragment}]; `accept`: digests that are right as
#                well; `fragment`: our part of a shared JSON file
#   packages     [name]                     units       [{name, enabled, waits, boot}]
#   sources      note: [path], files of a package repository
#   containers   {compose service: digest}  probes      {service: what `probe` takes}
#   container_modes  {compose service: [modes it works in]}; always where it is not named
#   mode         the mode of a node that has not chosen one itself
#   images       inspect: {compose service: image}; fetch: [image]
#   engine       {files: [path], packages: [name], unit}: what must be as wanted before images are asked for;
#                programs: [name] of its runtimes besides runc
#   with_text    return the text of what differs, for a diff
#   commit       {service: provisioning digest to remember, or null to keep the remembered one}, or null
#   archive      base64 of a tar.gz, paths relative to /     remove   [path]
#   reactions    [[restart or reload, unit]]                 validations  {path: command with %s}
#   partial      more of the desired state is shipped later: what it does not name stays known as before
#   compose_check  compose reads the staged project before anything is replaced
#   checks       {compose service: {command, files: [path]}}: run in a container like the service's own

import base64
import hashlib
import json
import os
import re
import socket
import stat
import subprocess
import sys
import time

STATE_FILE = "/var/lib/aicluster/state.json"
# Gone with the next boot, and so is whoever held it.
LOCK_FILE = "/run/aicluster.lock"
# A run shows up with each of its phases; the longest of them pulls images.
SILENT_S = 24 * 60 * 60
STACK_ROOT = "/opt/aicluster"
UNITS = "/etc/systemd/system"
PROJECT = "aicluster"
DOCKER_SOCKET = "/run/docker.sock"
DAEMON_FILE = "/etc/docker/daemon.json"
ENGINE_UNIT = "docker"
CONTAINERD_FILE = "/etc/containerd/config.toml"
CONTAINERD_ROOT = "/var/lib/containerd"
DPKG_FOLDER = "/var/lib/dpkg"
# Where `docker login` of root leaves what a registry wants to see.
LOGINS_FILE = "/root/.docker/config.json"
DOCKER_ROOT = "/var/lib/docker"
CGROUPS_V1 = "/proc/cgroups"
CGROUPS_V2 = "/sys/fs/cgroup/cgroup.controllers"
KERNEL_ARGUMENTS = "/proc/cmdline"
# Where the kernel's arguments are written down: Raspberry Pi OS since 12, before, Jetson. The first there is.
BOOT_FILES = ("/boot/firmware/cmdline.txt", "/boot/cmdline.txt", "/boot/extlinux/extlinux.conf")
MEMORY_FILE = "/proc/meminfo"
# Of Jetsons only.
L4T_FILE = "/etc/nv_tegra_release"
ENGINE_PACKAGES = ["docker-ce", "docker.io"]
REGISTRY_TIMEOUT_S = 60
# What a container that nobody stopped may be in: one that ends again and again is mostly between two starts.
AWAKE = ("running", "restarting", "paused")
HTTP_OK = 200
SERVER_ERROR = 500
NO_ANSWER = 504
PULLS_AT_ONCE = 3
CHECK_TIMEOUT_S = 300
# What a container that checks files has of the one that will read them.
CHECK_KEYS = (
    "cap_add", "cap_drop", "environment", "group_add", "image", "mem_limit", "memswap_limit", "pids_limit",
    "read_only", "security_opt", "shm_size", "tmpfs", "user", "working_dir",
)  # fmt: skip
# In a checker's command: the arguments its container will have, where they are all it reads.
OWN_ARGUMENTS = "@arguments@"
DIFF_LIMIT_BYTES = 64 * 1024
UNFINISHED = ("half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending")


class RefusedError(Exception):
    """A file was refused by its checker; nothing has been replaced."""


class TakenError(Exception):
    """Another run holds the node; its argument is what `hold` wrote of it."""


# ---------------------------------------------------------------- one run at a time


def locked(decide):
    """Replace the record in the lock file by `decide(record)`, one process at a time; a torn one is {}."""
    import fcntl

    with os.fdopen(os.open(LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644), "r+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            record = json.load(handle)
        except ValueError:
            record = {}
        if not isinstance(record, dict):
            record = {}
        after = json.dumps(decide(record))
        handle.seek(0)
        handle.truncate()
        handle.write(after)


def hold(mine, over):
    """Hold the node for the run `mine` ({run, ...}), or raise TakenError.

    The run `over` is dead, and one that has been silent for long is taken for dead.
    """
    # Not the time of day: boards without a clock of their own learn that late. It is the node's, as the file.
    now = time.monotonic()

    def decide(there):
        same = there.get("run") == mine["run"]
        silent_s = now - there.get("seen", now)
        if there and not same and there["run"] != over and 0 <= silent_s < SILENT_S:
            raise TakenError(dict(there, silent_s=int(silent_s)))
        began = there["since"] if same else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        return dict(mine, since=began, seen=now)

    locked(decide)


def let_go(mine):
    """End the hold of the run `mine`."""
    locked(lambda there: {} if there.get("run") == mine["run"] else there)


def take(_params):
    """Hold the node, as every phase that changes it does; see `answer`."""
    return {"changed": False}


# ---------------------------------------------------------------- state the node remembers


def read_state():
    """Return what the last run left: files: [path], pending: [[verb, unit]], provisioned: {service: [digest,
    ids of the containers it was provisioned in]}, fragments: {path of a shared JSON file: what `hidden`
    notes}, packages: [those we installed], sources: [path of a package repository's file we added], engine:
    the file the engine last ran with, see `last_ran_with`. `files` holds no shared ones: those stay.
    """
    state = {"files": [], "fragments": {}, "packages": [], "sources": [], "pending": [], "provisioned": {}}
    state["engine"] = None
    try:
        with open(STATE_FILE) as handle:
            state.update(json.load(handle))
    except (FileNotFoundError, ValueError):
        # A node never seen before, or a torn file: what differs is found by comparing; only what no longer
        # belongs and what is still owed are forgotten.
        pass
    return state


def write_state(state):
    """Replace the state file atomically."""
    os.makedirs(os.path.dirname(STATE_FILE), mode=0o755, exist_ok=True)
    replace_file(STATE_FILE, json.dumps(state, sort_keys=True).encode(), 0o600, 0, 0)


def replace_file(path, content, mode, uid, gid):
    """Write `content` beside `path`, then rename: a reader sees the old file or the new one, never a part."""
    temporary = os.path.join(os.path.dirname(path), ".%s.aicluster-new" % os.path.basename(path))
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(content)
        os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        handle.flush()
        os.fsync(descriptor)
    os.replace(temporary, path)


# ---------------------------------------------------------------- inspect


def run(command):
    """Return stdout of a read-only command, or an empty string when it is missing or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace")


def read_text(path):
    """Return the text of a file, or an empty string when it is missing."""
    try:
        # What others write to may hold any bytes.
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return ""


def as_json(value):
    """Return JSON as people read it."""
    return json.dumps(value, indent=2, sort_keys=True) + "\n"


def put(content, keys, was):
    """Return the JSON object `content` with `was` at the end of `keys`: [value], or [] for nothing."""
    key, rest = keys[0], keys[1:]
    if rest:
        there = content.get(key)
        inner = put(there if isinstance(there, dict) else {}, rest, was)
        was = [inner] if inner else []
    left = {name: value for name, value in content.items() if name != key}
    return dict(left, **{key: was[0]}) if was else left


def restored(content, notes):
    """Return the JSON object `content` as it was before us; `notes` are what `hidden` returned."""
    for note in notes:
        if not isinstance(note, str):
            content = put(content, *note)
        elif not isinstance(content.get(note), dict):
            # Earlier versions noted names only. What a mapping held before them is not known, so it stays.
            content = put(content, [note], [])
    return content


def hidden(content, fragment):
    """Return [[keys], [value there] or []] of what `fragment` hides; of a mapping, key by key."""
    notes = []
    for key, value in sorted(fragment.items()):
        there = content.get(key, {})
        if isinstance(value, dict) and isinstance(there, dict):
            notes += [[[key, name], [there[name]] if name in there else []] for name in sorted(value)]
        else:
            notes.append([[key], [there] if key in content else []])
    return notes


def laid_over(content, fragment):
    """Return the JSON object `content` with `fragment` over it, mappings key by key."""
    after = dict(content)
    for key, value in fragment.items():
        there = content.get(key)
        after[key] = dict(there, **value) if isinstance(value, dict) and isinstance(there, dict) else value
    return after


def without_us(path, notes):
    """Return the JSON object others have in the shared file `path`."""
    try:
        return restored(json.loads(read_text(path) or "{}"), notes)
    except ValueError as error:
        raise RefusedError("%s: must be JSON, we add to what others wrote: %s; mend it" % (path, error))


def compare_fragment(want, notes):
    """Like compare_file, for a file we share with others (`merge: true`); returns `after` as well."""
    text = read_text(want["path"])
    after = laid_over(without_us(want["path"], notes), want["fragment"])
    if text and json.loads(text) == after:
        return None
    reason = "content" if text else "missing"
    return {"path": want["path"], "reason": reason, "before": text, "after": as_json(after)}


def take_out(path, notes):
    """Take our part out of a shared file that we no longer have one in; the file stays."""
    found = os.stat(path)
    content = as_json(without_us(path, notes)).encode()
    replace_file(path, content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def compare_file(want, with_text):
    """Return None when the file is as wanted, else {path, reason, before}."""
    path = want["path"]
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return {"path": path, "reason": "missing", "before": ""}
    if not stat.S_ISREG(found.st_mode):
        return {"path": path, "reason": "not a regular file", "before": ""}
    with open(path, "rb") as handle:
        content = handle.read()
    if hashlib.sha256(content).hexdigest() not in [want["sha256"]] + want["accept"]:
        before = None
        if with_text and want.get("text") and len(content) <= DIFF_LIMIT_BYTES:
            before = content.decode("utf-8", "replace")
        return {"path": path, "reason": "content", "before": before}
    mode = "%04o" % stat.S_IMODE(found.st_mode)
    if (mode, found.st_uid, found.st_gid) != (want["mode"], want["uid"], want["gid"]):
        reason = "owner or mode %s %d:%d" % (mode, found.st_uid, found.st_gid)
        return {"path": path, "reason": reason, "before": None}
    for folder in own_folders(path):
        mode = stat.S_IMODE(os.lstat(folder).st_mode)
        if mode != folder_mode(folder):
            return {"path": path, "reason": "mode %04o of its folder %s" % (mode, folder), "before": None}
    return None


def own_folders(path):
    """Return the folders of the project that lead to a file, outermost first."""
    inside = os.path.dirname(path)[len(STACK_ROOT) :].split("/") if path.startswith(STACK_ROOT + "/") else []
    return ["/".join([STACK_ROOT] + inside[1 : depth + 1]) for depth in range(len(inside))]


def folder_mode(folder):
    """Return the mode of a folder of the project: a `secrets` folder is for the one user who reads it."""
    return 0o500 if os.path.basename(folder) == "secrets" else 0o755


def package_states():
    """Return {package: what dpkg says of it}; of several architectures an installed one, or the last."""
    listing = run(["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n"])
    lines = [line.split() for line in listing.splitlines()]
    return dict(sorted(lines, key=lambda line: line[1] == "installed"))


def missing_packages(wanted, states):
    """Return the wanted packages that dpkg does not list as installed."""
    return [name for name in wanted if states.get(name) != "installed"]


def unfinished_packages(states):
    """Return [{name, why}] of packages that a dpkg which was cut off left behind; none while one runs."""
    found = [{"name": name, "why": why} for name, why in sorted(states.items()) if why in UNFINISHED]
    # What dpkg has not yet written into its database; apt refuses all work until it has.
    if not found and any(name.isdigit() for name in os.listdir(DPKG_FOLDER + "/updates")):
        found = [{"name": "dpkg", "why": "was cut off"}]
    return [] if found and dpkg_runs() else found


def dpkg_runs():
    """Whether somebody holds one of dpkg's locks. To look does not take it."""
    import fcntl
    import struct

    lock = struct.Struct("hhqqi")
    for name in ("lock-frontend", "lock"):
        try:
            with open(os.path.join(DPKG_FOLDER, name), "rb") as handle:
                asked = lock.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                kind = lock.unpack(fcntl.fcntl(handle, fcntl.F_GETLK, asked))[0]
        except FileNotFoundError:
            continue
        if kind != fcntl.F_UNLCK:
            return True
    return False


def deviating_units(wanted):
    """Return [{name, why}] for units that do not run, or are not enabled (or disabled) as wanted.

    A unit with `boot` works when the node starts and at no other time: whether it runs is no matter.
    """
    if not wanted:
        return []
    names = [unit["name"] for unit in wanted]
    listing = run(["systemctl", "show", "-p", "Id,ActiveState,UnitFileState,LoadState"] + names)
    blocks = [
        dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        for block in listing.split("\n\n")
    ]
    by_name = dict(zip(names, blocks))
    deviating = []
    for unit in wanted:
        found = by_name.get(unit["name"], {})
        why = []
        if found.get("LoadState", "not-found") == "not-found":
            why.append("not there")
        elif unit.get("enabled", True) != (
            found.get("UnitFileState") in ("enabled", "enabled-runtime", "static", "alias", "indirect")
        ):
            why.append(found.get("UnitFileState") or "unknown")
        # A unit that waits for another node tries again and again; that is how it is meant to be.
        well = ("active", "activating") if unit.get("waits") else ("active",)
        if not unit.get("boot") and found.get("ActiveState") not in well:
            why.append(found.get("ActiveState") or "inactive")
        if why:
            deviating.append({"name": unit["name"], "why": ", ".join(why)})
    return deviating


def http_get(address, path, headers="", timeout_s=20):
    """Return (status, header lines, body) of a server on this node, (None, [], b"") when none answers.

    `address` is a socket's path or (host, port). HTTP/1.0 by hand: importing http.client costs more than the
    rest of the inspection.
    """
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        connection.connect(address)
        request = "GET %s HTTP/1.0\r\nHost: localhost\r\n%s\r\n" % (path, headers)
        connection.sendall(request.encode())
        with connection.makefile("rb") as answer:
            status = answer.readline().split()
            lines = []
            line = answer.readline().strip()
            while line:
                lines.append(line.decode("latin-1"))
                line = answer.readline().strip()
            body = answer.read()
        return (int(status[1]), lines, body) if len(status) > 1 else (None, [], b"")
    except (OSError, ValueError):
        return None, [], b""
    finally:
        connection.close()


def http_json(address, path):
    """Return the JSON a server on this node answers, or None."""
    status, _lines, body = http_get(address, path)
    try:
        return json.loads(body.decode()) if status == HTTP_OK else None
    except ValueError:
        return None


def docker_get(path):
    """Return the Docker API's answer: starting the command line client costs a small board half a second."""
    return http_json(DOCKER_SOCKET, path)


def project_containers():
    """Return {compose service: {id, owner, digest, state, health}} of this node's compose project."""
    listed = docker_get(
        # {"label": ["com.docker.compose.project=...", "com.docker.compose.oneoff=False"]}: what somebody
        # started with `docker compose run` carries the name of a service and is none.
        "/containers/json?all=1&filters=%7B%22label%22%3A%5B%22com.docker.compose.project%3D"
        + PROJECT
        + "%22%2C%22com.docker.compose.oneoff%3DFalse%22%5D%7D"
    )
    found = {}
    for container in listed or []:
        labels = container["Labels"]
        status = container.get("Status", "")
        # "Up 3 seconds (health: starting)", "Up 2 minutes (unhealthy)"
        health = next((state for state in ("unhealthy", "starting") if state + ")" in status), "")
        found[labels["com.docker.compose.service"]] = {
            "id": container["Id"],
            "owner": labels.get("aicluster.service", ""),
            "digest": labels.get("aicluster.digest", ""),
            "state": container["State"],
            "health": health,
        }
    return found


def containers_of(found):
    """Return {service: [ids of its containers]}."""
    owned = {}
    for container in found.values():
        owned.setdefault(container["owner"], []).append(container["id"])
    return {service: sorted(ids) for service, ids in owned.items()}


def deviating_containers(wanted, found):
    """Return [{service, why}]: containers that are missing, of another digest, not running or unhealthy."""
    deviating = []
    for service in sorted(wanted):
        container = found.get(service)
        if container is None:
            why = "missing"
        elif container["digest"] != wanted[service]:
            why = "changed"
        elif container["state"] != "running":
            why = container["state"]
        else:
            why = container["health"]
        if why:
            deviating.append({"service": service, "why": why})
    return deviating


def active_mode(modes, first):
    """Return the mode in the environment file of compose, `first` until a known one is there."""
    for line in read_text(STACK_ROOT + "/.env").splitlines():
        name, _, value = line.partition("=")
        if name == "COMPOSE_PROFILES" and any(value in names for names in modes.values()):
            return value
    return first


def asleep_containers(modes, mode):
    """Return the compose services that do not work in this mode."""
    return sorted(service for service, names in modes.items() if mode not in names)


def deviating_sleepers(asleep, wanted, found):
    """Return [{service, why}]: containers of other modes that are missing or of another digest."""
    absent = {"digest": None}
    states = [(service, found.get(service, absent)["digest"]) for service in asleep]
    return [
        {"service": service, "why": "missing" if digest is None else "changed"}
        for service, digest in states
        if digest != wanted[service]
    ]


def private(path, home):
    """Whether a file and its folder are there, belong to whom `home` belongs to, and are for nobody else."""
    try:
        owner, *found = [os.stat(place) for place in (home, path, os.path.dirname(path))]
    except OSError:
        return False
    return all(one.st_uid == owner.st_uid and not one.st_mode & 0o077 for one in found)


def probe(subject):
    """Return the JSON a service answers on the node itself, or None; `subject` is http://<address>:<port>/<path>.

    Of a file, `/<path>` or `~<user>/<path>`, return the text; it is empty where the file is missing, and
    where one of a user, or its folder, is another's or open to others. Of a folder, `/<path>/`, return what
    in it not everyone may read.
    """
    if subject.endswith("/") and "://" not in subject:
        return unreadable(subject)
    if "://" not in subject:
        path = os.path.expanduser(subject)
        home = os.path.expanduser(subject.partition("/")[0])
        return "" if home and not private(path, home) else read_text(path)
    server, _, path = subject.partition("://")[2].partition("/")
    host, _, port = server.partition(":")
    return http_json((host, int(port)), "/" + path)


def unreadable(root):
    """Return the paths in a folder that not everyone may read, or enter, itself included; links aside."""
    found = []
    for parent, _folders, files in os.walk(root):
        for path in [parent] + [os.path.join(parent, name) for name in files]:
            mode = os.lstat(path).st_mode
            needed = 0o555 if stat.S_ISDIR(mode) else 0o444
            if not stat.S_ISLNK(mode) and mode & needed != needed:
                found.append(path)
    return found


def facts():
    """Return the facts the toolkit uses: name and release name of the distribution."""
    release = {}
    for line in read_text("/etc/os-release").splitlines():
        key, _, value = line.partition("=")
        release[key] = value.strip('"')
    return {"os": release.get("ID", ""), "os_codename": release.get("VERSION_CODENAME", "")}


# ---------------------------------------------------------------- what may stand in the way


def engine():
    """Return {version, api} of the engine that answers, empty texts without one, and what it says of itself.

    Each answer of it names the first two in its headers.
    """
    found = {"version": "", "api": ""}
    _status, lines, body = http_get(DOCKER_SOCKET, "/info")
    for line in lines:
        name, _, value = line.partition(":")
        if name.lower() == "api-version":
            found["api"] = value.strip()
        elif name.lower() == "server":
            # Docker/20.10.24+dfsg1 (linux)
            found["version"] = value.strip().split(" ")[0].partition("/")[2]
    try:
        return found, json.loads(body.decode())
    except ValueError:
        return found, {}


def compose_version():
    """Return the version of the compose plugin, an empty text without one. Half a second of a small board."""
    return run(["docker", "compose", "version", "--short"]).strip()


def memory_cgroup():
    """Return {on, evidence, cmdline}: does the kernel count memory per container? None: it cannot be told."""
    if os.path.exists(CGROUPS_V2):
        on = "memory" in read_text(CGROUPS_V2).split()
        evidence = "not in %s" % CGROUPS_V2
    else:
        # subsys_name hierarchy num_cgroups enabled; a container sees the machine's, and that is what counts.
        lines = [line.split() for line in read_text(CGROUPS_V1).splitlines()]
        on = any(line[0] == "memory" and line[-1] == "1" for line in lines if line) if lines else None
        evidence = "not enabled in %s" % CGROUPS_V1
    if on is not False:
        return {"on": on, "evidence": "", "cmdline": ""}
    if "cgroup_disable=memory" in read_text(KERNEL_ARGUMENTS).split():
        evidence += ", and the kernel was started with cgroup_disable=memory"
    return {
        "on": False,
        "evidence": evidence,
        "cmdline": next((path for path in BOOT_FILES if os.path.isfile(path)), ""),
    }


def l4t():
    """Return the release of a Jetson's system, an empty text where there is none or it cannot be told."""
    # "# R36 (release), REVISION: 4.7, GCID: 42132812, BOARD: generic, ..."
    found = re.match(r"# *R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)", read_text(L4T_FILE))
    return ".".join(found.groups()) if found else ""


def board(programs):
    """Return what the machine and its system are; see `node_complaints`."""
    memory = re.match(r"MemTotal: +(\d+) kB", read_text(MEMORY_FILE))
    release = l4t()
    holds = ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Want}\n"] + ENGINE_PACKAGES
    folders = os.environ.get("PATH", "").split(":") + ["/usr/bin"]
    return {
        "memory_mb": int(memory.group(1)) // 1024 if memory else None,
        "machine": os.uname().machine,
        "bits": 64 if sys.maxsize > 1 << 32 else 32,
        "l4t": release,
        # A process more, of Jetsons only.
        "held": [line.split()[0] for line in run(holds).splitlines() if line.endswith(" hold")]
        if release
        else [],
        "absent": [
            program
            for program in programs
            if not any(os.access(os.path.join(folder, program), os.X_OK) for folder in folders)
        ],
    }


def written_root(text):
    """Return the folder a daemon.json wants the engine to keep its data in; once it was called `graph`."""
    try:
        file = json.loads(text or "{}")
        return str(file.get("data-root") or file.get("graph") or DOCKER_ROOT)
    except (ValueError, AttributeError):
        return DOCKER_ROOT


def docker_root(info):
    """Return the folder the engine says it keeps its data in; of one that does not answer, the file's."""
    return info.get("DockerRootDir") or written_root(read_text(DAEMON_FILE))


def in_containerd(info):
    """Whether the engine keeps images and containers in containerd's store, and not in its own."""
    return dict(info.get("DriverStatus") or []).get("driver-type", "").startswith("io.containerd.")


def store(info, text):
    """Return what the engine keeps its data with, and where it would with the file to come, without links.

    None: an engine that does not answer cannot tell.
    """
    remapped = "name=userns" in (info.get("SecurityOptions") or [])
    root = docker_root(info)
    return {
        # With remapped users the engine says /var/lib/docker/100000.100000.
        "root": os.path.realpath(re.sub(r"/\d+\.\d+$", "", root) if remapped else root),
        "root_to_come": os.path.realpath(written_root(text)),
        "driver": info.get("Driver"),
        "in_containerd": in_containerd(info) if info else None,
        "remapped": remapped if info else None,
    }


def image_root(info, root):
    """Return where the engine keeps images and what containers write; `root` is where it keeps all else.

    With containerd's image store, the default since Docker 29, they lie where containerd has its own data.
    """
    if info and not in_containerd(info):
        return os.path.join(root, info.get("Driver", ""))
    if "/docker/containerd/" in ((info.get("Containerd") or {}).get("Address") or ""):
        # A containerd that the engine starts itself.
        return os.path.join(root, "containerd")
    head = re.split(r"(?m)^\s*\[", read_text(CONTAINERD_FILE))[0]
    written = re.search(r"""(?m)^\s*root\s*=\s*["'](/[^"']*)""", head)
    return written.group(1) if written else CONTAINERD_ROOT


def disks(info):
    """Return the file systems a run writes to. Volumes and images are named where they have their own."""
    root = docker_root(info)
    found = [disk("/", False), disk(STACK_ROOT, False), disk(root, True)]
    for path, data in ((os.path.join(root, "volumes"), True), (image_root(info, root), False)):
        other = disk(path, data)
        if other["device"] not in [one["device"] for one in found]:
            found.append(other)
    return found


def disk(path, docker):
    """Return {path, mount, device, docker, free_mb, size_mb} of the file system that has `path`, or will.

    `docker`: data of services lies there; of several, the last.
    """
    # Through links: the mount point above a link need not be that of what it leads to.
    place = os.path.realpath(path)
    while not os.path.isdir(place):
        place = os.path.dirname(place)
    found = os.statvfs(place)
    unit = float(1 << 20)
    device = os.stat(place).st_dev
    while not os.path.ismount(place):
        place = os.path.dirname(place)
    return {
        "path": path,
        "mount": place,
        "device": device,
        "docker": docker,
        "free_mb": found.f_bavail * found.f_frsize / unit,
        "size_mb": found.f_blocks * found.f_frsize / unit,
    }


def volumes(root):
    """Return the project's volumes, without their prefix: data of services that may have no container now."""
    prefix = PROJECT + "_"
    try:
        listed = os.listdir(os.path.join(root, "volumes"))
    except OSError:
        return []
    return sorted(name[len(prefix) :] for name in listed if name.startswith(prefix))


def login_headers(image):
    """Return the header that shows root's login at the image's registry, an empty text without one.

    None where a helper program keeps it: what is not asked with the login is not asked at all.
    """
    first, slash, _ = image.partition("/")
    known = first if slash and ("." in first or ":" in first or first == "localhost") else ""
    try:
        logins = json.loads(read_text(LOGINS_FILE) or "{}")
        if logins.get("credsStore") or logins.get("credHelpers"):
            return None
        entry = logins.get("auths", {}).get(known or "https://index.docker.io/v1/", {})
        user, colon, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    except (ValueError, AttributeError):
        return ""
    if not colon:
        return ""
    login = json.dumps({"username": user, "password": password, "serveraddress": known})
    return "X-Registry-Auth: %s\r\n" % base64.urlsafe_b64encode(login.encode()).decode()


def ask_registry(image):
    """Return {status, message, platforms} of an image in its registry; status None: could not be asked.

    The engine asks, with its proxy and certificates, and downloads nothing.
    """
    unasked = {"status": None, "message": "", "platforms": []}
    headers = login_headers(image)
    # Mirrors of the public registry (`registry-mirrors`) take part in a pull, not in every engine's question.
    if headers is None or "registry-mirrors" in read_text(DAEMON_FILE):
        return unasked
    status, _lines, body = http_get(
        DOCKER_SOCKET, "/distribution/%s/json" % image, headers, REGISTRY_TIMEOUT_S
    )
    if status is None:
        message = "timeout: no answer within %d s" % REGISTRY_TIMEOUT_S
        return {"status": NO_ANSWER, "message": message, "platforms": []}
    try:
        said = json.loads(body.decode())
    except ValueError:
        return unasked
    platforms = said.get("Platforms") or []
    return {
        "status": status,
        "message": said.get("message", ""),
        "platforms": ["%s/%s" % (one.get("os"), one.get("architecture")) for one in platforms],
    }


def missing_images(images, ask):
    """Return {image: what its registry says} of those that are not on the node; None where `ask` is false."""
    answers = {}
    silent = {}
    for image in sorted(set(images)):
        if http_get(DOCKER_SOCKET, "/images/%s/json" % image)[0] == HTTP_OK:
            continue
        registry = image.partition("/")[0] if "/" in image else ""
        if ask and registry not in silent:
            answers[image] = ask_registry(image)
            if (answers[image]["status"] or 0) >= SERVER_ERROR:
                silent[registry] = answers[image]
        else:
            answers[image] = silent.get(registry)
    return answers


def engine_command():
    """Return what systemd starts the engine with, program first; an empty list without a unit of it."""
    import shlex

    shown = run(["systemctl", "show", "-p", "ExecStart,Environment,EnvironmentFiles", ENGINE_UNIT])
    argv = re.search(r"(?m)^ExecStart=.*?argv\[\]=(.*?) ;", shown)
    files = re.findall(r"(?m)^EnvironmentFiles?=(/\S+)", shown)
    texts = re.findall(r"(?m)^Environment=(.*)$", shown) + [read_text(path) for path in files]
    known = {}
    for text in texts:
        try:
            pairs = shlex.split(text, comments=True)
        except ValueError:
            continue  # systemd reads what a shell would not; what it holds is not known
        known.update(pair.split("=", 1) for pair in pairs if "=" in pair)
    command = []
    for word in argv.group(1).split() if argv else []:
        name = re.match(r"\$(\w+)$", word)
        # A variable by itself is as many words as it holds.
        command += (
            known.get(name.group(1), "").split()
            if name
            else [re.sub(r"\$\{(\w+)\}", lambda found: known.get(found.group(1), ""), word)]
        )
    return command


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


def starting(differing, pending, info):
    """Return what the engine's next start reads that its last one did not, None if there is no such thing.

    file: daemon.json to come; command; said: see `engine_said`; swarm: whether the node is a member of one;
    store: see `store`; containers: whether the project has any.
    """
    texts = [item["after"] for item in differing if item["path"] == DAEMON_FILE]
    if any(unit == ENGINE_UNIT for _verb, unit in pending):
        texts.append(read_text(DAEMON_FILE) or "{}")
    if not texts:
        return None
    command = engine_command()
    return {
        "file": json.loads(texts[0]),
        "command": command,
        "said": engine_said(command, texts[0]),
        "swarm": os.path.exists(os.path.join(docker_root(info), "swarm", "docker-state.json")),
        "store": store(info, texts[0]),
        "containers": bool(project_containers()),
    }


def obstacles(params, differing, packages, units, pending, containers):
    """Return what may stand in the way of a node's services; what is long to tell only where there is work.

    `ready`: the engine is as wanted, so that what it says of registries counts.
    """
    wanted = params["engine"]
    ready = not (
        any(item["path"] in wanted["files"] for item in differing)
        or any(name in wanted["packages"] for name in packages)
        or any(item["name"] == wanted["unit"] for item in units)
        or any(unit == wanted["unit"] for _verb, unit in pending)
    )
    new = [item["service"] for item in containers if item["why"] in ("missing", "changed")]
    found, info = engine()
    root = docker_root(info)
    return {
        "engine": dict(found, ready=ready and bool(found["api"])),
        "starting": starting(differing, pending, info),
        "compose": compose_version() if new and found["api"] else None,
        "memory_cgroup": memory_cgroup(),
        "board": board(wanted["programs"]),
        "disks": disks(info),
        "volumes": volumes(root),
        "images": missing_images([params["images"][name] for name in new], ready),
    }


def leftover(state, wanted_paths):
    """Return files we wrote that no longer belong, and shared files we no longer have a part in."""
    files = [path for path in state["files"] if os.path.lexists(path)]
    shared = [path for path, notes in state["fragments"].items() if notes and os.path.isfile(path)]
    return sorted(path for path in files + shared if path not in wanted_paths)


def inspect(params):
    """Compare the node with its desired state; see RETURN."""
    state = read_state()
    found = project_containers()
    ids = containers_of(found)
    if params["commit"] is not None:
        known = {
            service: state["provisioned"].get(service) if inputs is None else [inputs, ids.get(service, [])]
            for service, inputs in params["commit"].items()
        }
        provisioned = {service: done for service, done in known.items() if done is not None}
        committed = dict(state, pending=[], provisioned=provisioned, engine=None)
        if committed != state:
            write_state(committed)
        state = committed
    compared = [
        compare_fragment(want, state["fragments"].get(want["path"], []))
        if want.get("fragment") is not None
        else compare_file(want, params["with_text"])
        for want in params["files"]
    ]
    differing = [difference for difference in compared if difference]
    states = package_states() if params["packages"] else {}
    packages = missing_packages(params["packages"], states)
    units = deviating_units(params["units"])
    mode = active_mode(params["container_modes"], params["mode"])
    asleep = asleep_containers(params["container_modes"], mode)
    awake = {service: digest for service, digest in params["containers"].items() if service not in asleep}
    containers = deviating_containers(awake, found) + deviating_sleepers(asleep, params["containers"], found)
    return {
        "facts": facts(),
        "mode": mode,
        "asleep": asleep,
        "restless": [name for name in asleep if name in found and found[name]["state"] in AWAKE],
        "differing": differing,
        "leftover": leftover(state, {want["path"] for want in params["files"]}),
        "packages": packages,
        "unfinished": unfinished_packages(states) if states else [],
        "units": units,
        "containers": containers,
        "orphans": sorted(service for service in found if service not in params["containers"]),
        "pending": state["pending"],
        # A container that is not the one that was provisioned may have begun with nothing, whoever made it.
        "provisioned": {
            service: done[0]
            for service, done in state["provisioned"].items()
            # Earlier versions noted the digest alone.
            if done[1:] == [ids.get(service, [])]
        },
        "probes": {name: probe(subject) for name, subject in sorted(params["probes"].items())},
        "obstacles": obstacles(params, differing, packages, units, state["pending"], containers),
    }


# ---------------------------------------------------------------- note


def note(params):
    """Write down what of the packages and files to come is not there yet: a cleanup may remove it."""
    state = read_state()
    sources = [path for path in params["sources"] if not os.path.lexists(path)]
    states = package_states()
    # One that dpkg was cut off in was there before, or has been noted by the run that began it.
    new = [
        name for name in missing_packages(params["packages"], states) if states.get(name) not in UNFINISHED
    ]
    state["packages"] = sorted(set(state["packages"]) | set(new))
    state["sources"] = sorted(set(state["sources"]) | set(sources))
    write_state(state)
    return {"changed": False}


# ---------------------------------------------------------------- fetch


def pull(image):
    """Pull one image; return {status, message, platforms} as `ask_registry` does."""
    command = ["docker", "pull", "--quiet", image]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode == 0:
        return {"status": HTTP_OK, "message": "", "platforms": []}
    said = done.stdout.decode("utf-8", "replace").strip()
    return {
        "status": SERVER_ERROR,
        "message": said.replace("Error response from daemon: ", ""),
        "platforms": [],
    }


def fetch(params):
    """Pull images, a few side by side; see RETURN. Containers and files stay as they are."""
    from concurrent.futures import ThreadPoolExecutor

    # Those that a plan took for missing while the engine was down may be there.
    images = list(missing_images(params["images"], ask=False))
    with ThreadPoolExecutor(PULLS_AT_ONCE) as pool:
        answers = dict(zip(images, pool.map(pull, images)))
    return {
        "changed": any(answer["status"] == HTTP_OK for answer in answers.values()),
        "engine": engine()[0],
        "compose": compose_version(),
        "images": answers,
    }


# ---------------------------------------------------------------- ship


def members(archive):
    """Yield (absolute path, content, mode, uid, gid) of every file in the base64 tar.gz."""
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as tar:
        for member in tar:
            yield "/" + member.name, tar.extractfile(member).read(), member.mode, member.uid, member.gid


def stage(owned, files, directory):
    """Lay the project out under `directory` as it will be, for checkers to see the future.

    Only regular files of the desired state are copied: a link would lead the staging out of the folder.
    """
    shipped = {path for path, _content, _mode, _uid, _gid in files}
    staged = list(files)
    for path in owned:
        there = path.startswith(STACK_ROOT + "/") and os.path.isfile(path) and not os.path.islink(path)
        if there and path not in shipped:
            found = os.stat(path)
            with open(path, "rb") as handle:
                content = handle.read()
            staged.append((path, content, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid))
    for path, content, mode, uid, gid in staged:
        # With the owners of the real ones: what checks a secret runs as the user who may read it.
        make_directories(path, uid, gid, directory)
        with open(directory + path, "wb") as handle:
            handle.write(content)
            os.fchown(handle.fileno(), uid, gid)
            os.fchmod(handle.fileno(), mode)


def check(command, subject):
    """Run a checker on a staged file; raise RefusedError with what it said."""
    import shlex

    done = subprocess.run(shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        said = done.stdout.decode("utf-8", "replace").strip()
        raise RefusedError(
            "%s was refused by `%s` (rc %d): %s" % (subject, command.split()[0], done.returncode, said)
        )


def staged_project(directory):
    """Return the compose project as it will be, resolved; raise RefusedError with what compose says of it."""
    project = directory + STACK_ROOT + "/compose.yaml"
    # Services of all modes: those that do not run now are read as well.
    command = ["docker", "compose", "-f", project, "--profile", "*", "config", "--format", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise RefusedError(
            "%s/compose.yaml was refused by `docker compose config` (rc %d): %s"
            % (STACK_ROOT, done.returncode, said)
        )
    return json.loads(done.stdout.decode())


def checking(definition, directory, command):
    """Return the compose service that checks staged files: like the real one, but alone and with no data.

    It reads the staged files where the real one will read them. Where that keeps data, it has empty memory.
    """
    import shlex

    mounts = definition.get("volumes") or []
    staged = [
        dict(mount, source=directory + mount["source"], read_only=True)
        for mount in mounts
        if mount["type"] == "bind" and mount["source"].startswith(STACK_ROOT + "/")
    ]
    empty = [{"type": "tmpfs", "target": mount["target"]} for mount in mounts if mount["type"] == "volume"]
    kept = {key: definition[key] for key in CHECK_KEYS if key in definition}
    words = []
    for word in shlex.split(command):
        words += (definition.get("command") or []) if word == OWN_ARGUMENTS else [word]
    return dict(
        kept,
        entrypoint=words,
        command=[],
        volumes=staged + empty,
        network_mode="none",
        pull_policy="never",
        logging={"driver": "none"},
    )


def check_container(service, definition, directory, wanted):
    """Run the checker of a service's files on the staged ones; return what speaks against them, or ""."""
    project, name = directory + "/check.json", "%s-check-%s-%d" % (PROJECT, service, os.getpid())
    with open(project, "w") as handle:
        json.dump({"services": {service: checking(definition, directory, wanted["command"])}}, handle)
    compose = ["docker", "compose", "--ansi", "never", "-p", PROJECT + "-check", "-f", project]
    try:
        done = subprocess.run(
            compose + ["run", "--rm", "-T", "--name", name, service],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=CHECK_TIMEOUT_S,
            check=False,
        )
        if not done.returncode:
            return ""
        result = "rc %d" % done.returncode
        said = done.stdout
    except subprocess.TimeoutExpired as expired:
        run(["docker", "rm", "--force", name])
        result = "no end within %d s" % CHECK_TIMEOUT_S
        said = expired.stdout or b""
    return "%s of service %s was refused by `%s` (%s): %s" % (
        ", ".join(wanted["files"]),
        service,
        wanted["command"],
        result,
        both_ends(said.decode("utf-8", "replace").strip()),
    )


def both_ends(text, lines=10):
    """Return a long text without its middle: some programs tell their usage after what is wrong."""
    found = text.splitlines()
    left_out = len(found) - 2 * lines
    if left_out <= 0:
        return text
    return "\n".join(found[:lines] + ["[%d more lines]" % left_out] + found[-lines:])


def check_project(directory, checks):
    """Let compose and the containers' programs read what is staged; raise RefusedError with all they say."""
    project = staged_project(directory)
    refusals = [
        check_container(service, project["services"][service], directory, checks[service])
        for service in sorted(checks)
    ]
    if any(refusals):
        raise RefusedError("\n".join(refusal for refusal in refusals if refusal))


def make_directories(path, uid, gid, below=""):
    """Make the parents of `path`, those of the project with their modes; others' stay as they are.

    `below`: a folder that stands for the root of the file system.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(below + parent):
        make_directories(parent, uid, gid, below)
        os.mkdir(below + parent, 0o755)
    for folder in own_folders(path):
        os.chmod(below + folder, folder_mode(folder))
    if os.path.basename(parent) == "secrets":
        os.chown(below + parent, uid, gid)


def remove_file(path):
    """Remove a file, and the project's folders it leaves empty; stop a unit first, while it is known."""
    if os.path.dirname(path) == UNITS and os.path.exists(path):
        run(["systemctl", "disable", "--now", os.path.basename(path)])
    if os.path.lexists(path):
        os.unlink(path)
    parent = os.path.dirname(path)
    while parent.startswith(STACK_ROOT) and os.path.isdir(parent) and not os.listdir(parent):
        os.rmdir(parent)
        parent = os.path.dirname(parent)


def ship(params):
    """Validate everything, then put it in place; the owed reactions are written down first.

    A run that is killed in between is repaired by the next one: files that differ are found by comparing,
    reactions by the `pending` list, containers by their digest label.
    """
    import shlex
    import shutil
    import tempfile

    state = read_state()
    fragments = {
        want["path"]: want["fragment"] for want in params["files"] if want.get("fragment") is not None
    }
    before = {path: without_us(path, state["fragments"].get(path, [])) for path in fragments}
    owned = [want["path"] for want in params["files"]]
    files = []
    for path, content, mode, uid, gid in sorted(members(params["archive"])) if params["archive"] else []:
        if os.path.isdir(path) and not os.path.islink(path):
            raise RefusedError("%s is a folder where a file belongs; look at it and remove it" % path)
        whole = content
        if path in fragments:
            whole = as_json(laid_over(before[path], fragments[path])).encode()
        files.append((path, whole, mode, uid, gid))
    directory = tempfile.mkdtemp(prefix="aicluster-stage-")
    try:
        stage(owned, files, directory)
        for path, command in sorted(params["validations"].items()):
            check(command.replace("%s", shlex.quote(directory + path)), path)
        if params["compose_check"]:
            check_project(directory, params["checks"])
    finally:
        shutil.rmtree(directory)
    # Of shared files also what the last run noted: until all is in place, both parts may be in the file.
    notes = {path: hidden(before[path], fragment) for path, fragment in fragments.items()}
    both = {path: old + notes.get(path, []) for path, old in state["fragments"].items()}
    ours = sorted(path for path in owned if path not in fragments)
    if DAEMON_FILE in [path for path, _content, _mode, _uid, _gid in files]:
        state["engine"] = state["engine"] or last_ran_with(state["fragments"].get(DAEMON_FILE, []))
    state["pending"] = sorted(set(map(tuple, state["pending"])) | set(map(tuple, params["reactions"])))
    write_state(dict(state, files=sorted(set(state["files"]) | set(ours)), fragments=dict(notes, **both)))
    for path, content, mode, uid, gid in files:
        make_directories(path, uid, gid)
        replace_file(path, content, mode, uid, gid)
    for path in params["remove"]:
        if path in state["fragments"]:
            take_out(path, state["fragments"][path])
        else:
            remove_file(path)
    if not params["partial"]:
        # What another run laid down since this one looked is found by the next one.
        others = {path for path in state["files"] if os.path.lexists(path)}
        write_state(dict(state, files=sorted(set(ours) | others), fragments=notes))
    forget_starts(unit for verb, unit in params["reactions"] if verb == "restart")
    return {"changed": bool(files or params["remove"])}


def forget_starts(units):
    """Have systemd not count our restarts: of the engine it allows three in a minute, then it stays down."""
    names = []
    for unit in units:
        names += [unit] if "." in unit else [unit + ".service", unit + ".socket"]
    if names:
        run(["systemctl", "reset-failed"] + names)


def reacted(params):
    """Cross out reactions that were carried out."""
    state = read_state()
    left = [pair for pair in state["pending"] if pair not in params["reactions"]]
    restarted = not any(unit == ENGINE_UNIT for _verb, unit in left)
    write_state(dict(state, pending=left, engine=None if restarted else state["engine"]))
    return {"changed": False}


# ---------------------------------------------------------------- the way back


def last_ran_with(notes):
    """Return what brings back the engine's file as it is: text (None: no file), mode, owner and notes."""
    try:
        found = os.stat(DAEMON_FILE)
    except FileNotFoundError:
        return {"text": None, "notes": notes}
    owner = {"mode": stat.S_IMODE(found.st_mode), "uid": found.st_uid, "gid": found.st_gid}
    return dict(owner, text=read_text(DAEMON_FILE), notes=notes)


def release(_params):
    """Leave the node as a run found it where its engine does not start any more; see `answer` for the hold.

    engine: what was done, a sentence; empty where the engine runs or its file was not ours.
    """
    state = read_state()
    before = state["engine"]
    if not before or run(["systemctl", "is-active", ENGINE_UNIT]).strip() == "active":
        return {"changed": False, "engine": ""}
    if before["text"] is None:
        os.unlink(DAEMON_FILE)
    else:
        replace_file(DAEMON_FILE, before["text"].encode(), before["mode"], before["uid"], before["gid"])
    state["fragments"][DAEMON_FILE] = before["notes"]
    pending = [pair for pair in state["pending"] if pair[1] != ENGINE_UNIT]
    write_state(dict(state, pending=pending, engine=None))
    forget_starts([ENGINE_UNIT])
    run(["systemctl", "start", ENGINE_UNIT])
    runs = run(["systemctl", "is-active", ENGINE_UNIT]).strip() == "active"
    how = "the engine runs with it" if runs else "the engine does not start with it either"
    return {"changed": True, "engine": "%s is again what it was before this run; %s." % (DAEMON_FILE, how)}


def leave(_params):
    """Give the files shared with others back as they were before us; what they held stays noted."""
    for path, notes in read_state()["fragments"].items():
        if notes and os.path.isfile(path):
            take_out(path, notes)
    forget_starts([ENGINE_UNIT])
    return {"changed": False}


def answer(request):
    """Answer one question of the action plugin; with `run` for the one run that may change the node."""
    # Whatever the umask of root: modes are those that are named here, and all else is for everyone to read.
    os.umask(0o022)
    os.environ.update(LC_ALL="C", LANGUAGE="C")  # words of programs are looked for
    mine = request.get("run")
    last = request["phase"] in ("inspect", "release")
    try:
        if mine and request["phase"] != "release":
            hold(mine, request.get("over"))
        phases = (inspect, take, note, fetch, ship, reacted, release, leave)
        result = {phase.__name__: phase for phase in phases}[request["phase"]](request)
    except RefusedError as refusal:
        last = True
        result = {"failed": True, "msg": "%s. Nothing was replaced on this node." % refusal}
    except TakenError as taken:
        return {
            "failed": True,
            "msg": "another run holds this node",
            "taken": taken.args[0],
            "lock": LOCK_FILE,
        }
    if mine and last:
        let_go(mine)
    return result


if __name__ == "__main__":
    # No AnsibleModule: unpacking and compiling it is nine tenths of what an inspection costs a node, and it
    # would write each question into the journal, on an SD card.
    # Ansible puts the arguments in the place of the mark.
    arguments = json.loads(r"""<<INCLUDE_ANSIBLE_MODULE_JSON_ARGS>>""")
    print(json.dumps(answer(json.loads(base64.b64decode(arguments["request"]).decode()))))
