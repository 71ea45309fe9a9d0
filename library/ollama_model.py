#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the models and aliases of one Ollama server."""

DOCUMENTATION = r"""
---
module: ollama_model
short_description: Pulls, refreshes, removes and aliases the models of an Ollama server
description:
  - Brings all models and aliases of one server to the wanted state in one call, because every module
    call costs a small board about a second.
  - Reads the progress stream of a pull to its end. Only a final C(success) counts; a stream that ends
    otherwise is taken up again where it broke off.
  - A model that is present is left alone without any contact to the model registry, so nodes without
    internet converge.
  - Together with the action plugin of the same name a pull is done in slices, and each slice prints a
    line of progress in the output of C(ansible-playbook).
  - With C(async) and C(poll=0) it works beside the play. A later task with the same O(progress_file) waits
    for it with progress, reports what it did, and tries again what went wrong.
options:
  url:
    description: Address of the Ollama server as the node sees it, for example C(http://192.168.1.154:11434).
    type: str
    required: true
  models:
    description: Models to look after. Models which are not listed are left alone.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name as in C(ollama pull); without a tag it means C(:latest).
        type: str
        required: true
      state:
        description:
          - V(present) pulls the model if the server does not have it.
          - V(latest) also pulls it if the registry has a newer one.
          - V(absent) deletes it. What other models and aliases share with it stays.
        type: str
        choices: [present, latest, absent]
        default: present
      size_gb:
        description: Size on disk in GB (10^9 bytes), shown before the server has told the real one.
        type: float
      loaded_gb:
        description: Memory in GB once it is loaded. Not used here; the site's preflight adds it up.
        type: float
  aliases:
    description:
      - Further names of models, as alias name to model name. An alias is a copy of the model's manifest
        and takes no disk space. It is made again whenever its digest differs from the model's.
    type: dict
    default: {}
  mirrors:
    description:
      - Registries on the LAN as C(host:port), asked in plain http, in this order, before the registry a name
        points to. A model with O(models[].state=present) is pulled from the first one that has it and then
        gets its own name; what was half pulled from one is gone on with from another.
      - A mirror that lacks the model, does not answer or breaks off is passed over. Models with
        O(models[].state=latest) and models whose name has a host of its own are never looked for there.
    type: list
    elements: str
    default: []
  volume:
    description:
      - Name of the Docker volume the server keeps its models in. With it, nothing is pulled that does not fit
        on the disk of that volume on this machine. All missing models are added up by their
        O(models[].size_gb) before the first byte, and each layer by its real size when the server begins it.
    type: str
  disk_path:
    description: Folder the server keeps its models in, for a server without a volume; else as O(volume).
    type: path
  disk_reserve_gb:
    description: GB (10^9 bytes) of that disk that stay free for everybody else.
    type: float
    default: 2
  attempts:
    description: Consecutive tries without a single new byte after which a pull is given up.
    type: int
    default: 5
  backoff_s:
    description: Seconds before the first retry; doubled up to one minute while nothing arrives.
    type: float
    default: 2
  stall_s:
    description: Seconds without a line from the server after which a pull is taken up again.
    type: float
    default: 60
  verify_s:
    description: Seconds the server may be silent while it computes the checksums of what it downloaded.
    type: float
    default: 1800
  insecure:
    description: Talk plain http to the registry named in a model's name.
    type: bool
    default: false
  avoid:
    description:
      - Names below O(mirrors) that are not tried (again). The action plugin carries them from call to call.
    type: list
    elements: str
    default: []
  progress_file:
    description:
      - File on this machine by whose lock only one call pulls at a time, and in which that call keeps where
        its pull stands and what it has done. A call that finds it locked watches the other's progress, and
        when that one has ended does what is left. What nobody has reported yet, it reports.
    type: path
  background:
    description:
      - Nobody waits for this call, so what it does is left in O(progress_file) for the next one to report.
        The action plugin sets it.
    type: bool
    default: false
  slice_s:
    description:
      - Return with RV(finished=false) once a pull runs longer than this many seconds; the next call goes on
        from there. V(0) waits to the end. The action plugin sets it to show progress.
    type: float
    default: 0
attributes:
  check_mode:
    description:
      - Predicts pulls, deletions and aliases. For V(latest) it asks the registry, and warns if it cannot.
    support: full
  diff_mode:
    description: Lists the models and aliases of the task with their digests, before and after.
    support: full
author: The aicluster authors
"""

EXAMPLES = r"""
- name: The AI node has its models and aliases
  ollama_model:
    url: http://192.168.1.154:11434
    models:
      - {name: gpt-oss, size_gb: 13.8}
      - {name: codellama:34b, size_gb: 19.1}
    aliases:
      chat: gpt-oss
      code: codellama:34b

- name: A node copies what another node of the cluster has, and keeps its disk from running full
  ollama_model:
    url: http://192.168.1.157:11435
    models: [{name: phi3:mini, size_gb: 2.3}]
    mirrors: ["192.168.1.154:11436"]
    volume: aicluster_ollama

- name: The models are begun, and the play goes on
  ollama_model:
    url: http://192.168.1.154:11434
    models: "{{ ollama_models }}"
    progress_file: /run/models.json
  async: 86400
  poll: 0

- name: The models are there
  ollama_model:
    url: http://192.168.1.154:11434
    models: "{{ ollama_models }}"
    progress_file: /run/models.json

- name: All models are what the registry has today
  ollama_model:
    url: http://192.168.1.154:11434
    models: "{{ ollama_models | map('combine', {'state': 'latest'}) }}"

- name: An old model is gone
  ollama_model:
    url: http://192.168.1.157:11435
    models: [{name: phi3:mini, state: absent}]
"""

RETURN = r"""
finished:
  description: False if the call stopped at O(slice_s) with work left.
  type: bool
  returned: success
pulled:
  description: Models this call finished pulling and that are new or newer.
  type: list
  elements: str
  returned: success
removed:
  description: Models this call deleted.
  type: list
  elements: str
  returned: success
aliased:
  description: Aliases this call made, as "alias -> model".
  type: list
  elements: str
  returned: success
copied:
  description: Models that came from one of O(mirrors), as "model from host:port".
  type: list
  elements: str
  returned: success
given_up:
  description: Names below O(mirrors) that could not be pulled, each with the reason, C({name, why}).
  type: list
  elements: dict
  returned: success
checked:
  description: Names of the models with O(models[].state=latest) that this call brought up to date.
  type: list
  elements: str
  returned: success
progress:
  description: Where an unfinished pull stands. Sizes in bytes, rate in bytes per second.
  type: dict
  returned: if not finished
  contains:
    model: {description: Its name., type: str}
    origin: {description: The one of O(mirrors) it comes from; empty for its own registry., type: str}
    completed: {description: Bytes on the node., type: int}
    total: {description: Bytes the server has announced so far., type: int}
    rate: {description: Mean of this call., type: float}
"""

import fcntl
import glob
import hashlib
import http.client
import json
import os
import re
import socket
import time
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule

CONNECT_S = 10
# How often a call that watches another looks, and how often that one tells.
WATCH_S = 1
# What a call did that nobody has reported for so long is no news.
NEWS_S = 86400
LISTS = ("removed", "pulled", "aliased", "checked", "copied", "given_up")
LONGEST_BACKOFF_S = 60
# A mirror is on the LAN: it answers at once or it is away.
MIRROR_S = 5
DEFAULT_REGISTRY = "registry.ollama.ai"
GIGA = 1e9
# Within this distance of a layer's end a slice is not cut, see Pull.may_be_cut.
NEVER_CUT_LAST_S = 5
NEVER_CUT_LAST_BYTES = 32 * 1000 * 1000
NAME = re.compile(r"^(?:[\w.-]+(?::\d+)?/)?(?:[\w.-]+/)?[A-Za-z0-9][\w.-]*(?::[A-Za-z0-9_][\w.-]*)?$")
HTTP_OK = 200
HTTP_NOT_FOUND = 404
CLIENT_ERRORS = 4
# Request timeout, too many requests: the same request may be welcome later.
MAY_PASS = (408, 429)

# What the server says if trying again cannot help, what a person can do about it, and whether another
# registry may be better off.
CURES = (
    (
        "file does not exist",
        "the registry has no such model: look up name and tag on https://ollama.com/library",
        True,
    ),
    ("invalid model name", "write it as in `ollama pull`: [host/][namespace/]model[:tag]", False),
    (
        "no space left",
        "the disk of the models is full: take models off ollama_models, or give it more room",
        False,
    ),
    (
        "newer version of ollama",
        "this model needs a newer Ollama: raise the ollama image in the service catalogue",
        False,
    ),
    ("unauthorized", "the registry wants a login: use a public model or a mirror", True),
    (
        "no location header",
        "the mirror must send a Location header with blobs: see roles/model_mirror/README.md",
        True,
    ),
    (
        "digest mismatch",
        "what arrived was damaged and is deleted: run the playbook again; look at a proxy in between",
        True,
    ),
)
CURE_UNKNOWN = (
    "check the node's way to the model registry, then run the playbook again: it goes on where it stopped"
)


class ModelError(Exception):
    """A sentence for the person who runs the playbook."""


class SourceError(ModelError):
    """A model that cannot be had from one registry; another may have it."""


class PullBrokenError(Exception):
    """A pull that ended without `success` and may be tried again."""


# ---------------------------------------------------------------- names


def complete(name):
    """Return a name without the public registry and with its tag: 'library/Llama3.2' -> 'Llama3.2:latest'."""
    short = name.strip()
    for prefix in (DEFAULT_REGISTRY + "/", "library/"):
        if short.lower().startswith(prefix):
            short = short[len(prefix) :]
    if ":" not in short.rsplit("/", 1)[-1]:
        short += ":latest"
    return short


def normalise(name):
    """Return the key under which names are compared: a registry minds capitals, a server does not."""
    return complete(name).lower()


def registry_address(name):
    """Split a complete name into (host, repository, tag) as the registry knows it."""
    path, tag = name.rsplit(":", 1)
    rest, dummy, model = path.rpartition("/")
    host, dummy, namespace = rest.rpartition("/")
    return host or DEFAULT_REGISTRY, "%s/%s" % (namespace or "library", model), tag


def mirrored_name(name, mirror):
    """Return the name a model has on a mirror: 'phi3:mini' -> 'host:port/library/phi3:mini'.

    None for a model of another registry than the public one: a mirror tells those not apart.
    """
    host, repository, tag = registry_address(complete(name))
    return "%s/%s:%s" % (mirror, repository, tag) if host == DEFAULT_REGISTRY else None


def mistakes(models, aliases):
    """Return every contradiction in the arguments as a sentence."""
    found = []
    states = {}
    for model in models:
        name = model["name"]
        if not NAME.match(name):
            found.append(
                "model %r: not a model name; write it as in `ollama pull`: [host/][namespace/]model[:tag]"
                % name
            )
        key = normalise(name)
        if key in states:
            found.append("model %r: listed twice (a name without tag means :latest); remove one entry" % name)
        states[key] = model["state"]
    for alias, target in sorted(aliases.items()):
        if not NAME.match(alias) or not isinstance(target, str) or not NAME.match(target):
            found.append("alias %s -> %s: both sides must be model names" % (alias, target))
        elif normalise(alias) in states:
            found.append("alias %r: is also listed as a model; choose another alias name" % alias)
        elif states.get(normalise(target)) == "absent":
            found.append(
                "alias %s -> %s: the model is listed as absent; point the alias elsewhere" % (alias, target)
            )
        elif normalise(alias) == normalise(target):
            found.append("alias %r: points to itself; name a model" % alias)
    return found


# ---------------------------------------------------------------- the server


def cure_of(text):
    """Return (what a person can do about an error text of the server, whether another registry may help).

    (None, True) if trying again may help.
    """
    for part, cure, elsewhere in CURES:
        if part in text.lower():
            return cure, elsewhere
    return None, True


def error_text(body):
    """Return the `error` of a JSON answer, else the start of its text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200] or "(nothing)"


class Server:
    """The few requests this module makes. Raises OSError or http.client.HTTPException if nobody answers."""

    def __init__(self, url):
        """Take the url apart; nothing is sent yet."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError("url %r: must look like http://192.168.1.154:11434" % url)
        self.url = url.rstrip("/")
        self._https = parts.scheme == "https"
        self._host = parts.hostname
        self._port = parts.port
        self._path = parts.path.rstrip("/")

    def connection(self, timeout):
        """Return an unopened connection; timeout in seconds for connecting and for each read."""
        kind = http.client.HTTPSConnection if self._https else http.client.HTTPConnection
        return kind(self._host, self._port, timeout=timeout)

    def send(self, connection, method, path, body=None):
        """Send a request and return the response with its body unread."""
        payload = None if body is None else json.dumps(body).encode("utf-8")
        connection.request(method, self._path + path, payload, {"Content-Type": "application/json"})
        return connection.getresponse()

    def ask(self, method, path, body=None, timeout=30):
        """Return (status, body) of a short request."""
        connection = self.connection(timeout)
        try:
            response = self.send(connection, method, path, body)
            return response.status, response.read()
        finally:
            connection.close()

    def tags(self):
        """Return {normalised name: digest} of the installed models."""
        status, body = self.ask("GET", "/api/tags")
        try:
            if status == HTTP_OK:
                listed = json.loads(body.decode())["models"] or []
                return {normalise(model["name"]): model["digest"] for model in listed}
        except (ValueError, KeyError, TypeError):
            pass
        raise ModelError(
            "%s/api/tags answered %s %s instead of a list of models. Is this an Ollama server? Check the port"
            % (self.url, status, error_text(body))
        )

    def copy(self, source, destination):
        """Give a model a second name."""
        status, body = self.ask("POST", "/api/copy", {"source": source, "destination": destination})
        if status != HTTP_OK:
            raise ModelError(
                "%s -> %s: not copied, %s said %s %s"
                % (destination, source, self.url, status, error_text(body))
            )

    def delete(self, name):
        """Delete a model; one that is gone already is fine."""
        status, body = self.ask("DELETE", "/api/delete", {"model": name}, timeout=120)
        if status not in (HTTP_OK, HTTP_NOT_FOUND):
            raise ModelError(
                "model %s: not deleted, %s said %s %s" % (name, self.url, status, error_text(body))
            )


def registry_digest(name, insecure):
    """Return the digest the registry has for a name: the sha256 of its manifest."""
    host, repository, tag = registry_address(complete(name))
    kind = http.client.HTTPConnection if insecure else http.client.HTTPSConnection
    connection = kind(host, timeout=CONNECT_S)
    try:
        connection.request(
            "GET",
            "/v2/%s/manifests/%s" % (repository, tag),
            headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        )
        response = connection.getresponse()
        body = response.read()
        if response.status != HTTP_OK:
            raise OSError("%s answered %s" % (host, response.status))
        return hashlib.sha256(body).hexdigest()
    finally:
        connection.close()


def mirror_has(name):
    """Tell whether the mirror in a name has the model; one that does not answer has nothing."""
    host, repository, tag = registry_address(name)
    connection = http.client.HTTPConnection(host, timeout=MIRROR_S)
    try:
        connection.request("HEAD", "/v2/%s/manifests/%s" % (repository, tag))
        return connection.getresponse().status == HTTP_OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# ---------------------------------------------------------------- the disk


class Disk:
    """The disk of the models, as this machine sees it: `path` is their folder (OLLAMA_MODELS or above)."""

    def __init__(self, path, reserve_gb):
        """Keep `reserve_gb` (10^9 bytes) free for others."""
        self.path = path
        self._reserve = int(reserve_gb * GIGA)

    def room(self):
        """Return the bytes that may still be written: what is free for everybody, without the reserve."""
        found = os.statvfs(self.path)
        return max(0, found.f_bavail * found.f_frsize - self._reserve)

    def begun(self):
        """Return the bytes of half-pulled layers. They are sparse files: what counts is what was written."""
        return sum(
            os.stat(file).st_blocks * 512
            for folder in ("blobs", os.path.join("models", "blobs"))
            for file in glob.glob(os.path.join(self.path, folder, "sha256-*-partial"))
        )

    def require(self, needed, what):
        """Raise ModelError if `needed` bytes more do not fit; `what` is the sentence's subject."""
        room = self.room()
        if needed > room:
            raise ModelError(
                "%s, %.1f GB to come: must fit into the %.1f GB that the disk of %s has left beside a "
                "reserve of %.1f GB; free some there, take models off ollama_models, or move Docker's data "
                "to a bigger disk" % (what, needed / GIGA, room / GIGA, self.path, self._reserve / GIGA)
            )


def disk_of(module):
    """Return the Disk the arguments name, or None. Raises ModelError if there is no such volume."""
    path = module.params["disk_path"]
    if not path and module.params["volume"]:
        command = ["docker", "volume", "inspect", "--format", "{{ .Mountpoint }}", module.params["volume"]]
        code, output, complaint = module.run_command(command)
        if code:
            raise ModelError(
                "volume %s: cannot be asked for its disk (%s). Is the service up? On the node: "
                "docker volume ls" % (module.params["volume"], complaint.strip())
            )
        path = output.strip()
    if path and not os.path.isdir(path):
        raise ModelError("disk_path %s: no such folder; name the one the models are in" % path)
    return Disk(path, module.params["disk_reserve_gb"]) if path else None


def count_of(names):
    """Return '1 model' or '3 models'."""
    return "1 model" if len(names) == 1 else "%d models" % len(names)


def require_room(disk, models, names):
    """Refuse before the first byte if the models `names` do not fit by their declared sizes."""
    sizes = {model["name"]: model.get("size_gb") or 0 for model in models}
    if disk and names:
        listed = " + ".join("%s %.1f" % (name, sizes[name]) for name in names)
        begun = disk.begun()
        partly = ", %.1f of it there in part" % (begun / GIGA) if begun else ""
        needed = sum(sizes[name] for name in names) * GIGA - begun
        disk.require(needed, "%s refused before the first byte (%s GB%s)" % (count_of(names), listed, partly))


# ---------------------------------------------------------------- one at a time


class Turn:
    """Who pulls on this machine: the one call that holds the lock of a file.

    It writes into the file where its pull stands and what it has done. The lock goes with the process that
    holds it, however that ends. Without a file it is everybody's turn.
    """

    def __init__(self, path):
        """Open the file, which need not exist."""
        self._file = None
        self._told = 0.0
        if path:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)

    def take(self, deadline):
        """Wait for the turn until `deadline` (monotonic seconds or None); return whether it came."""
        while self._file is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline and time.monotonic() >= deadline:
                    return False
                time.sleep(WATCH_S)
        return True

    def give_back(self):
        """Let others have their turn; the end of the process does the same."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def told(self):
        """Return (progress or None, what was done and not reported: the lists of the result)."""
        said = {}
        if self._file is not None and time.time() - os.fstat(self._file).st_mtime < NEWS_S:
            try:
                said = json.loads(os.pread(self._file, 1 << 20, 0).decode("utf-8"))
            except ValueError:
                pass  # empty, or just being written
        done = said.get("done", {})
        return said.get("progress"), {key: list(done.get(key, [])) for key in LISTS}

    def tell(self, progress, done, at_once=True):
        """Write both down; if not `at_once`, no more often than others look."""
        if self._file is None or not (at_once or time.monotonic() - self._told >= WATCH_S):
            return
        self._told = time.monotonic()
        said = {"progress": progress, "done": {key: done[key] for key in LISTS}}
        self._write(json.dumps(said).encode("utf-8"))

    def reported(self):
        """Forget what was done."""
        if self._file is not None:
            self._write(b"")

    def _write(self, content):
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))


# ---------------------------------------------------------------- pulling


class Pull:
    """What the lines of one pull stream tell: bytes per layer, and whether it may be cut here."""

    def __init__(self, clock=time.monotonic):
        """Start the clock of the rate."""
        self.origin = ""
        self._clock = clock
        self._started = clock()
        self._first = {}
        self._layers = {}
        self._current = None
        self.status = ""

    def read(self, line):
        """Take in one decoded line of the stream. Return the bytes to come of a layer it is the first of."""
        self.status = line.get("status", "")
        self._current = line.get("digest")
        if self._current and line.get("total"):
            completed = line.get("completed", 0)
            begins = self._current not in self._first
            self._first.setdefault(self._current, completed)
            self._layers[self._current] = (completed, line["total"])
            return line["total"] - completed if begins else 0
        return 0

    @property
    def completed(self):
        """Bytes that are on the node."""
        return sum(done for done, dummy in self._layers.values())

    @property
    def total(self):
        """Bytes of all layers announced so far; a server announces one after the other."""
        return sum(total for dummy, total in self._layers.values())

    @property
    def received(self):
        """Bytes that arrived during this stream."""
        return max(0, self.completed - sum(self._first.values()))

    @property
    def rate(self):
        """Mean bytes per second of this stream."""
        return self.received / max(self._clock() - self._started, 0.001)

    def may_be_cut(self):
        """Tell whether hanging up now loses nothing.

        A server verifies only the layers which arrived complete within the pull that downloaded them; cut
        behind the end of a layer and it would never be checked. So a pull is cut in the middle of the
        first layer it downloads, well before that layer's end, or not at all.
        """
        if self._current not in self._layers:
            return False
        completed, total = self._layers[self._current]
        arrived_whole = [
            d for d, first in self._first.items() if d != self._current and first < self._layers[d][1]
        ]
        distance = max(NEVER_CUT_LAST_S * self.rate, NEVER_CUT_LAST_BYTES)
        return not arrived_whole and total - completed > distance

    def describe(self):
        """Say how far it came: '34 % of 19.1 GB'."""
        if not self.total:
            return "before the first byte"
        return "at %d %% of %.1f GB" % (100 * self.completed // self.total, self.total / 1e9)


def stream_pull(server, name, pull, settings):
    """Pull once. Return True on success, False if cut at the deadline; else raise.

    settings: the module's arguments, with `disk` and `deadline` (both may be None), and `tell`, which is
    called with the pull after each line. Leaving the stream, for whatever reason, ends the server's download.
    """
    disk, deadline = settings["disk"], settings["deadline"]
    connection = server.connection(CONNECT_S)
    try:
        connection.connect()
        # The response may detach the socket from the connection, so keep hold of it.
        sock = connection.sock
        sock.settimeout(settings["stall_s"])
        response = server.send(
            connection, "POST", "/api/pull", {"model": name, "stream": True, "insecure": settings["insecure"]}
        )
        if response.status != HTTP_OK:
            refuse(server, name, "%s %s" % (response.status, error_text(response.read())), response.status)
        while True:
            raw = response.readline()
            if not raw.endswith(b"\n") and not raw.strip().endswith(b"}"):
                raise PullBrokenError("the stream ended without `success`")
            if not raw.strip():
                continue
            line = json.loads(raw.decode("utf-8"))
            if "error" in line:
                refuse(server, name, str(line["error"]))
            to_come = pull.read(line)
            settings["tell"](pull)
            if disk and to_come:
                disk.require(to_come, "model %s stopped before its layer %s" % (name, line["digest"][7:19]))
            if pull.status == "success":
                return True
            sock.settimeout(settings["verify_s" if pull.status.startswith("verifying") else "stall_s"])
            if deadline and time.monotonic() >= deadline and pull.may_be_cut():
                return False
    except socket.timeout:
        raise PullBrokenError("nothing came for %d s" % settings["stall_s"])
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PullBrokenError("%s: %s" % (type(error).__name__, error))
    finally:
        connection.close()


def refuse(server, name, text, status=None):
    """Raise ModelError (SourceError) if trying again (there) cannot help, else PullBrokenError."""
    cure, elsewhere = cure_of(text)
    refused = status is not None and status // 100 == CLIENT_ERRORS and status not in MAY_PASS
    if cure or refused:
        kind = SourceError if cure and elsewhere else ModelError
        raise kind(
            "model %s: %s cannot pull it. The server said: %s. What helps: %s"
            % (name, server.url, text, cure or "is this an Ollama server? Check port and service")
        )
    raise PullBrokenError("the server said: %s" % text)


def pull_to_success(server, name, settings):
    """Pull, and take it up again while that brings new bytes.

    Returns None when the model is there, else the Pull that was cut at the deadline.
    """
    failures = 0
    while True:
        pull = Pull()
        pull.origin = settings["origin"]
        try:
            return None if stream_pull(server, name, pull, settings) else pull
        except PullBrokenError as interruption:
            failures = 1 if pull.received else failures + 1
            if failures >= settings["attempts"]:
                raise SourceError(
                    "model %s: %s gave up after %d attempts without a new byte, %s. Last: %s. What helps: %s"
                    % (name, server.url, failures, pull.describe(), interruption, CURE_UNKNOWN)
                )
        time.sleep(min(settings["backoff_s"] * 2 ** (failures - 1), LONGEST_BACKOFF_S))


def fetch(server, name, settings, mirrors, result):
    """Bring one model: from the first mirror that has it, else from the registry its name points to.

    Returns None when it is there, else the Pull that was cut at the deadline. Notes in `result` what came
    from a mirror (`copied`) and what could not (`given_up`).
    """
    for mirror in mirrors:
        there = mirrored_name(name, mirror)
        if there is None or there in settings["avoid"] or not mirror_has(there):
            continue
        try:
            cut = pull_to_success(server, there, dict(settings, insecure=True, origin=mirror))
        except SourceError as failure:
            result["given_up"].append({"name": there, "why": str(failure)})
            continue
        if cut is not None:
            return cut
        # Both names share one set of blobs, so this copies a file of a few hundred bytes.
        server.copy(there, name)
        server.delete(there)
        result["copied"].append("%s from %s" % (name, mirror))
        return None
    return pull_to_success(server, name, settings)


def installed(server, settings):
    """Return the tags; a server that is just starting gets the attempts of the task."""
    for attempt in range(settings["attempts"]):
        try:
            return server.tags()
        except (OSError, http.client.HTTPException) as error:
            last = error
            if attempt + 1 < settings["attempts"]:
                time.sleep(min(settings["backoff_s"] * 2**attempt, LONGEST_BACKOFF_S))
    raise ModelError(
        "%s does not answer (%s: %s), asked %d times. Is the service up? On the node:"
        " docker compose --project-name aicluster logs ollama"
        % (server.url, type(last).__name__, last, settings["attempts"])
    )


# ---------------------------------------------------------------- wanted against installed


def to_remove(tags, models):
    """Names of the models to delete."""
    return [m["name"] for m in models if m["state"] == "absent" and normalise(m["name"]) in tags]


def to_pull(tags, models, aliases):
    """Names of the models the server must fetch, those behind aliases first: they are asked for most."""
    wanted = {normalise(target) for target in aliases.values()}
    missing = [m["name"] for m in models if m["state"] != "absent" and normalise(m["name"]) not in tags]
    return sorted(missing, key=lambda name: normalise(name) not in wanted)


def to_refresh(tags, models):
    """Names of the models to compare with the registry."""
    return [m["name"] for m in models if m["state"] == "latest" and normalise(m["name"]) in tags]


def left_behind(tags, models, mirrors):
    """Names below the mirrors of models that have their own by now: a run ended between the two."""
    own = [m["name"] for m in models if normalise(m["name"]) in tags]
    names = [mirrored_name(name, mirror) for name in own for mirror in mirrors]
    return [name for name in names if name is not None and normalise(name) in tags]


def to_alias(tags, aliases):
    """(alias, model) pairs whose digests differ."""
    return [
        (alias, target)
        for alias, target in sorted(aliases.items())
        if normalise(target) not in tags or tags.get(normalise(alias)) != tags[normalise(target)]
    ]


def listing(tags, models, aliases):
    """Text of the diff: the models and aliases of the task, one a line, with short digests."""
    names = sorted({normalise(m["name"]) for m in models} & set(tags))
    lines = ["%s %s" % (name, tags[name][:12]) for name in names]
    for alias, target in sorted(aliases.items()):
        if normalise(alias) in tags:
            same = tags[normalise(alias)] == tags.get(normalise(target))
            lines.append(
                "%s -> %s" % (normalise(alias), normalise(target) if same else tags[normalise(alias)][:12])
            )
    return "".join(line + "\n" for line in lines)


def require_targets(server, tags, aliases):
    """Refuse aliases of models that neither are there nor will be pulled."""
    missing = ["%s -> %s" % pair for pair in sorted(aliases.items()) if normalise(pair[1]) not in tags]
    if missing:
        raise ModelError(
            "alias %s: %s has no such model and it is not in `models`. Add it there, or choose one of: %s"
            % (", ".join(missing), server.url, ", ".join(sorted(tags)) or "none")
        )


def newer_in_registry(tags, models, insecure):
    """Return (names of installed models whose registry has something else by now, why others are unknown)."""
    newer, unknown = [], []
    for name in to_refresh(tags, models):
        try:
            if registry_digest(name, insecure) != tags[normalise(name)]:
                newer.append(name)
        except (OSError, http.client.HTTPException) as error:
            unknown.append("model %s: cannot tell whether the registry has a newer one (%s)" % (name, error))
    return newer, unknown


def predict(server, tags, params, disk, warn):
    """Check mode: return (tags as they would be, result) without changing anything."""
    models, aliases = params["models"], params["aliases"]
    after = dict(tags)
    removed = to_remove(tags, models) + left_behind(tags, models, params["mirrors"])
    for name in removed:
        del after[normalise(name)]
    pulled = to_pull(tags, models, aliases)
    for name in pulled:
        after[normalise(name)] = "(pulled)"
    newer, unknown = newer_in_registry(tags, models, params["insecure"])
    for text in unknown:
        warn(text)
    for name in newer:
        pulled.append(name)
        after[normalise(name)] = "(refreshed)"
    require_room(disk, models, pulled)
    require_targets(server, after, aliases)
    made = to_alias(after, aliases)
    for alias, target in made:
        after[normalise(alias)] = after[normalise(target)]
    return after, {
        "removed": removed,
        "pulled": pulled,
        "aliased": ["%s -> %s" % pair for pair in made],
        "checked": [],
        "copied": [],
        "given_up": [],
    }


def make_aliases(server, tags, aliases, result):
    """Make the aliases of models that are there and say otherwise; return the tags afterwards."""
    due = [pair for pair in to_alias(tags, aliases) if normalise(pair[1]) in tags]
    for alias, target in due:
        server.copy(target, alias)
        result["aliased"].append("%s -> %s" % (alias, target))
    if not due:
        return tags
    after = server.tags()
    wrong = to_alias(after, dict(due))
    if wrong:
        raise ModelError(
            "alias %s -> %s: copied, but %s lists another digest for it" % (wrong[0] + (server.url,))
        )
    return after


def standing(model, pull):
    """Return where the pull of a declared model stands, as RETURN says it."""
    return {
        "model": model["name"],
        "origin": pull.origin,
        "completed": pull.completed,
        "total": pull.total or int((model.get("size_gb") or 0) * GIGA),
        "rate": pull.rate,
    }


def converge(server, tags, params, disk, turn, deadline):
    """Do it. Return (tags afterwards, result); with `progress` in the result if the deadline left work."""
    models, aliases = params["models"], params["aliases"]
    after = dict(tags)
    result = turn.told()[1]
    pulls = to_pull(tags, models, aliases)
    require_targets(server, set(tags).union(normalise(name) for name in pulls), aliases)

    # Deleting first makes room for what is pulled.
    for name in to_remove(tags, models) + left_behind(tags, models, params["mirrors"]):
        server.delete(name)
        after.pop(normalise(name))
        result["removed"].append(name)
    if disk:
        newer, dummy = newer_in_registry(tags, models, params["insecure"])
        require_room(disk, models, pulls + newer)

    refreshes = [name for name in to_refresh(tags, models) if name not in result["checked"]]
    refreshed = {normalise(name) for name in refreshes}
    declared = {m["name"]: m for m in models}
    for name in pulls + refreshes:
        begun = deadline and time.monotonic() >= deadline
        settings = dict(
            params,
            disk=disk,
            deadline=deadline,
            origin="",
            tell=lambda pull, model=declared[name]: turn.tell(standing(model, pull), result, at_once=False),
        )
        mirrors = params["mirrors"] if declared[name]["state"] == "present" else []
        cut = Pull() if begun else fetch(server, name, settings, mirrors, result)
        if cut is not None:
            result["progress"] = standing(declared[name], cut)
            return after, result
        after = server.tags()
        if normalise(name) not in after:
            raise ModelError(
                "model %s: %s reported success but does not list it; look at its log" % (name, server.url)
            )
        if after[normalise(name)] != tags.get(normalise(name)):
            result["pulled"].append(name)
        if normalise(name) in refreshed:
            result["checked"].append(name)
        # At once: the other models may take hours.
        own = {alias: target for alias, target in aliases.items() if normalise(target) == normalise(name)}
        after = make_aliases(server, after, own, result)
        turn.tell(None, result)
    return make_aliases(server, after, aliases, result), result


def in_turn(server, tags, params, disk):
    """Converge when nobody else does; watch who does until then. Return as `converge`."""
    deadline = time.monotonic() + params["slice_s"] if params["slice_s"] else None
    turn = Turn(params["progress_file"])
    if not turn.take(deadline):
        progress, done = turn.told()
        return tags, dict(done, progress=progress or standing({"name": "models"}, Pull()), watched=True)
    # Whoever had the turn before may have changed what is there.
    now = server.tags() if params["progress_file"] else tags
    after, result = converge(server, now, params, disk, turn, deadline)
    if params["background"]:
        turn.tell(None, result)
    else:
        turn.reported()
    turn.give_back()
    return after, result


def main():
    """Entry point."""
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "models": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "name": {"type": "str", "required": True},
                    "state": {
                        "type": "str",
                        "choices": ["present", "latest", "absent"],
                        "default": "present",
                    },
                    "size_gb": {"type": "float"},
                    "loaded_gb": {"type": "float"},
                },
            },
            "aliases": {"type": "dict", "default": {}},
            "mirrors": {"type": "list", "elements": "str", "default": []},
            "volume": {"type": "str"},
            "disk_path": {"type": "path"},
            "disk_reserve_gb": {"type": "float", "default": 2},
            "avoid": {"type": "list", "elements": "str", "default": []},
            "attempts": {"type": "int", "default": 5},
            "backoff_s": {"type": "float", "default": 2},
            "stall_s": {"type": "float", "default": 60},
            "verify_s": {"type": "float", "default": 1800},
            "insecure": {"type": "bool", "default": False},
            "progress_file": {"type": "path"},
            "background": {"type": "bool", "default": False},
            "slice_s": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        wrong = mistakes(params["models"], params["aliases"])
        if params["attempts"] < 1:
            wrong.append("attempts %d: must be 1 or more" % params["attempts"])
        if wrong:
            raise ModelError("; ".join(wrong))
        server = Server(params["url"])
        disk = disk_of(module)
        before = installed(server, params)
        if module.check_mode:
            after, result = predict(server, before, params, disk, module.warn)
        else:
            after, result = in_turn(server, before, params, disk)
    except ModelError as failure:
        module.fail_json(msg=str(failure))
    except (OSError, http.client.HTTPException) as error:
        module.fail_json(
            msg="%s stopped answering (%s: %s). Is it restarting? Run the playbook again, what is done stays"
            % (params["url"], type(error).__name__, error)
        )
    models, aliases = params["models"], params["aliases"]
    module.exit_json(
        changed=not result.pop("watched", False)
        and bool(result["removed"] or result["pulled"] or result["aliased"]),
        finished="progress" not in result,
        diff={"before": listing(before, models, aliases), "after": listing(after, models, aliases)},
        **result,
    )


if __name__ == "__main__":
    main()
