#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Ansible module: the models and aliases of one Ollama server."""

DOCUMENTATION = r"""
---
module: ollama_model
short_description: Pulls, removes and aliases the models of an Ollama server
description:
  - A server that has all models and aliases is asked once and the model registry never, so nodes without
    internet converge.
  - Anything else is done by a background process on the node, one at a time. It reads the stream of each pull
    to C(success), resumes one that breaks off or stalls, and writes its progress into O(progress_file).
  - The action plugin of the same name watches that process and prints its progress, also where an earlier
    task or run has begun it.
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
          - V(absent) deletes it. What other models and aliases share with it stays.
        type: str
        choices: [present, absent]
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
      - Registries on the LAN as C(host:port), asked in plain http, in this order, before the public registry.
        A partial pull resumes from the next one.
      - A mirror that lacks the model, does not answer or breaks off is passed over. Models whose name has a
        host of its own are never looked for there.
    type: list
    elements: str
    default: []
  volume:
    description:
      - Docker volume the server keeps its models in. With it, nothing is pulled that does not fit on its
        disk. All missing models are added up by their O(models[].size_gb) before the first byte, and each
        layer by its real size when the server begins it.
    type: str
  disk_reserve_gb:
    description: GB (10^9 bytes) of that disk that stay free for everybody else.
    type: float
    default: 2
  progress_file:
    description:
      - File on this machine that the background process keeps locked while it works. It holds its progress,
        and what it has done until a task has reported that.
    type: path
    required: true
  wait:
    description:
      - Whether the task waits for the models. V(false) only begins; a later task with the same
        O(progress_file) waits, reports what was done, and tries again what failed before.
    type: bool
    default: true
  watch_s:
    description: Seconds for which to watch what an earlier call has begun. The action plugin sets it.
    type: float
    default: 0
attributes:
  check_mode:
    description: Predicts pulls, deletions and aliases.
    support: full
  diff_mode:
    description: Lists the models and aliases of the task with their digests, before and after.
    support: full
author: The aicluster authors
"""

EXAMPLES = r"""
- name: The AI node has its models and aliases, copied from another node where that has them
  ollama_model:
    url: http://192.168.1.157:11435
    models:
      - {name: phi3:mini, size_gb: 2.3}
      - {name: codellama:7b, state: absent}
    aliases: {chat: phi3:mini}
    mirrors: ["192.168.1.154:11436"]
    volume: aicluster_ollama
    progress_file: /run/models.json
"""

RETURN = r"""
finished: {description: False while the background process is at work., type: bool, returned: success}
pulled: {description: Models that were pulled., type: list, elements: str, returned: success}
removed: {description: Models that were deleted., type: list, elements: str, returned: success}
aliased: {description: Aliases that were made (alias -> model)., type: list, elements: str, returned: success}
copied:
  description: Models that came from one of O(mirrors), as "model from host:port".
  type: list
  elements: str
  returned: success
given_up:
  description: Why a model could not be had from one of O(mirrors), a sentence for each.
  type: list
  elements: str
  returned: success
progress:
  description:
    - The pull that is going on as C({model, origin, completed, total, rate}), in bytes and bytes per second.
      C(origin) is the one of O(mirrors) it comes from, or empty.
  type: dict
  returned: if not finished
"""

import fcntl
import glob
import http.client
import json
import os
import re
import socket
import time
import traceback
from functools import partial
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.service import fork_process

CONNECT_S = 10
ANSWER_S = 30
# A mirror is on the LAN: it answers at once or it is away.
MIRROR_S = 5
# Without a new byte or another status for so long, a pull has stalled.
STALL_S = 60
# The server is silent while it computes the checksums of what it downloaded.
VERIFY_S = 1800
# Consecutive attempts without a new byte after which a pull is given up, and the pauses between them.
ATTEMPTS = 5
BACKOFF_S = 2
LONGEST_BACKOFF_S = 60
# How often the progress file is written and looked at.
LOOK_S = 1
REPORTED = ("removed", "pulled", "aliased", "copied", "given_up")
NOTHING_YET = {"model": "models", "origin": "", "completed": 0, "total": 0, "rate": 0.0}
DEFAULT_REGISTRY = "registry.ollama.ai"
GIGA = 1e9
NAME = re.compile(r"^(?:[\w.-]+(?::\d+)?/)?(?:[\w.-]+/)?[A-Za-z0-9][\w.-]*(?::[A-Za-z0-9_][\w.-]*)?$")
JSON = {"Content-Type": "application/json"}
HTTP_OK = 200
HTTP_NOT_FOUND = 404
# Refused for good: all 4xx but a timeout and too many requests.
REFUSED = set(range(400, 500)) - {408, 429}

# What the server says if trying again cannot help -> what a person can do about it.
CURES = {
    "invalid model name": "write it as in `ollama pull`: [host/][namespace/]model[:tag]",
    "no space left": "the disk of the models is full: take models off ollama_models, or give it more room",
    "newer version of ollama": "this model needs a newer Ollama: raise its image in the service catalogue",
    "file does not exist": "the registry has no such model: look up name and tag on https://ollama.com/library",
    "unauthorized": "the registry wants a login: use a public model or a mirror",
    "no location header": "a mirror must send a Location header with blobs: see roles/model_mirror/README.md",
    "digest mismatch": "damaged bytes came and are deleted: run the playbook again; look at proxies between",
}
# Where another registry may be better off.
OF_THE_REGISTRY = {"file does not exist", "unauthorized", "no location header", "digest mismatch"}
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


def library_address(name):
    """Return (repository, tag) of a model of the public registry, None for one that names another."""
    path, tag = complete(name).rsplit(":", 1)
    if path.count("/") > 1:
        return None
    return path if "/" in path else "library/" + path, tag


def mirrored_name(name, mirror):
    """Return the name a model has on a mirror: 'phi3:mini' -> 'host:port/library/phi3:mini'."""
    return "%s/%s:%s" % ((mirror,) + library_address(name))


def mistakes(models, aliases):
    """Return every contradiction in the arguments as a sentence."""
    keys = [normalise(model["name"]) for model in models]
    names = [("model", model["name"]) for model in models] + [("alias", alias) for alias in aliases]
    names += [("alias %s ->" % alias, target) for alias, target in aliases.items()]
    found = [
        "%s %r: not a model name; write it as in `ollama pull`: [host/][namespace/]model[:tag]" % one
        for one in names
        if not isinstance(one[1], str) or not NAME.match(one[1])
    ]
    for key in sorted({key for key in keys if keys.count(key) > 1}):
        found.append("model %r: listed twice (a name without tag means :latest); remove one entry" % key)
    for alias in aliases:
        if normalise(alias) in keys:
            found.append("alias %r: is also listed as a model; choose another alias name" % alias)
    return found


# ---------------------------------------------------------------- the server


def error_text(body):
    """Return the `error` of a JSON answer, else the start of its text."""
    text = body.decode("utf-8", "replace").strip()
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text[:200] or "(nothing)"


class Server:
    """The few requests this module makes of Ollama."""

    def __init__(self, url):
        """Take the url apart; nothing is sent yet."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ModelError("url %r: must look like http://192.168.1.154:11434" % url)
        self.url = url.rstrip("/")
        self._address = parts.netloc

    def connection(self, timeout):
        """Return an unopened connection; timeout in seconds for connecting and for each read."""
        return http.client.HTTPConnection(self._address, timeout=timeout)

    def ask(self, method, path, body=None):
        """Return (status, body) of a short request. A server that is just starting is asked a few times."""
        for failures in range(ATTEMPTS):
            if failures:
                pause(failures)
            connection = self.connection(timeout=ANSWER_S)
            try:
                connection.request(method, path, body and json.dumps(body), JSON)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                last = error
            finally:
                connection.close()
        raise ModelError(
            "%s does not answer (%s: %s), asked %d times. Is the service up? On the node: "
            "docker compose --project-name aicluster logs ollama"
            % (self.url, type(last).__name__, last, ATTEMPTS)
        )

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

    def change(self, method, path, body, accepted=(HTTP_OK,)):
        """Make a short request that changes something. Raises ModelError unless the status is accepted."""
        status, answer = self.ask(method, path, body)
        if status not in accepted:
            raise ModelError(
                "%s %s %s: refused, %s said %s %s"
                % (method, path, json.dumps(body), self.url, status, error_text(answer))
            )

    def copy(self, source, destination):
        """Give a model a second name."""
        self.change("POST", "/api/copy", {"source": source, "destination": destination})

    def delete(self, name):
        """Delete a model; one that is gone already is fine."""
        self.change("DELETE", "/api/delete", {"model": name}, accepted=(HTTP_OK, HTTP_NOT_FOUND))


def mirror_has(mirror, name):
    """Tell whether a mirror has a model; one that does not answer has nothing."""
    connection = http.client.HTTPConnection(mirror, timeout=MIRROR_S)
    try:
        connection.request("HEAD", "/v2/%s/manifests/%s" % library_address(name))
        return connection.getresponse().status == HTTP_OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def pause(failures):
    """Wait before another attempt, twice as long after each that failed."""
    time.sleep(min(BACKOFF_S * 2 ** (failures - 1), LONGEST_BACKOFF_S))


# ---------------------------------------------------------------- the disk


class Disk:
    """The disk of a Docker volume with models."""

    def __init__(self, module):
        """Ask Docker where it is. Raises ModelError if there is no such volume."""
        volume = module.params["volume"]
        command = ["docker", "volume", "inspect", "--format", "{{ .Mountpoint }}", volume]
        code, output, complaint = module.run_command(command)
        if code:
            raise ModelError(
                "volume %s: cannot be asked for its disk (%s). Is the service up? On the node: "
                "docker volume ls" % (volume, complaint.strip())
            )
        self._path = output.strip()
        self._reserve = module.params["disk_reserve_gb"] * GIGA

    def require(self, needed, what):
        """Raise ModelError if `needed` bytes more do not fit; `what` is the sentence's subject."""
        found = os.statvfs(self._path)
        room = max(0, found.f_bavail * found.f_frsize - self._reserve)
        if needed > room:
            raise ModelError(
                "%s, %.1f GB to come: must fit into the %.1f GB that the disk of %s has left beside a "
                "reserve of %.1f GB; free some there, take models off ollama_models, or move Docker's data "
                "to a bigger disk" % (what, needed / GIGA, room / GIGA, self._path, self._reserve / GIGA)
            )

    def require_all(self, models, names):
        """Refuse before the first byte if the models `names` do not fit by their declared sizes."""
        sizes = [(m["name"], m["size_gb"] or 0) for m in models if m["name"] in names]
        # Half-pulled layers are sparse files: what counts is what was written.
        begun = glob.glob(os.path.join(self._path, "models", "blobs", "sha256-*-partial"))
        written = sum(os.stat(file).st_blocks * 512 for file in begun)
        self.require(
            sum(size for dummy, size in sizes) * GIGA - written,
            "pull refused before the first byte (%s GB, %.1f of it there in part)"
            % (" + ".join("%s %.1f" % one for one in sizes), written / GIGA),
        )


# ---------------------------------------------------------------- pulling


class Pull:
    """What the lines of one pull stream tell: a status, and bytes per layer."""

    def __init__(self, origin):
        """Start the clock of the rate. `origin`: a mirror, or empty."""
        self.origin = origin
        self.status = ""
        self.completed = self.total = self.received = self._most = 0
        self._began = time.monotonic()
        self._layers = {}  # digest -> bytes there at first, bytes there, bytes in all

    def read(self, line):
        """Take in one decoded line. Return the bytes to come of a layer it is the first of, else 0."""
        self.status = line.get("status", "")
        digest, total, there = line.get("digest"), line.get("total"), line.get("completed", 0)
        if not digest or not total:
            return 0
        begins = digest not in self._layers
        first = there if begins else self._layers[digest][0]
        self._layers[digest] = (first, there, total)
        at_first, self.completed, self.total = map(sum, zip(*self._layers.values()))
        self.received = max(0, self.completed - at_first)
        self._most = max(self._most, self.completed)
        return total - there if begins else 0

    @property
    def standing(self):
        """What changes while the server gets on. One that waits for a registry repeats its last line."""
        return self.status, self._most

    @property
    def rate(self):
        """Mean bytes per second of this stream."""
        return self.received / max(time.monotonic() - self._began, 0.001)


def stream_pull(server, name, pull, disk, tell):
    """Pull once, to `success`; else raise. `tell` is called with the pull after each line.

    Leaving the stream, for whatever reason, ends the server's download; it keeps what has come.
    """
    connection = server.connection(CONNECT_S)
    limit = CONNECT_S
    try:
        connection.connect()
        limit = STALL_S
        # The response may detach the socket from the connection, so keep hold of it.
        sock = connection.sock
        sock.settimeout(limit)
        body = {"model": name, "stream": True, "insecure": bool(pull.origin)}
        connection.request("POST", "/api/pull", json.dumps(body), JSON)
        response = connection.getresponse()
        if response.status != HTTP_OK:
            refuse(server, name, "%s %s" % (response.status, error_text(response.read())), response.status)
        last_news = time.monotonic()
        while pull.status != "success":
            raw = response.readline()
            if not raw.endswith(b"\n") and not raw.strip().endswith(b"}"):
                raise PullBrokenError("the stream ended without `success`")
            if not raw.strip():
                continue
            line = json.loads(raw.decode("utf-8"))
            if "error" in line:
                refuse(server, name, str(line["error"]))
            before = pull.standing
            to_come = pull.read(line)
            if disk and to_come:
                disk.require(to_come, "model %s stopped before its layer %s" % (name, line["digest"][7:19]))
            tell(pull)
            limit = VERIFY_S if pull.status.startswith("verifying") else STALL_S
            sock.settimeout(limit)
            if pull.standing != before:
                last_news = time.monotonic()
            elif time.monotonic() - last_news >= limit:
                raise PullBrokenError("no new byte for %g s" % limit)
    except socket.timeout:
        raise PullBrokenError("nothing came for %g s" % limit)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise PullBrokenError("%s: %s" % (type(error).__name__, error))
    finally:
        connection.close()


def refuse(server, name, text, status=None):
    """Raise ModelError (SourceError) if trying again (there) cannot help, else PullBrokenError."""
    known = [part for part in CURES if part in text.lower()]
    if not known and status not in REFUSED:
        raise PullBrokenError("the server said: %s" % text)
    cure = CURES[known[0]] if known else "is this an Ollama server? Check port and service"
    raise (SourceError if known and known[0] in OF_THE_REGISTRY else ModelError)(
        "model %s: %s cannot pull it. The server said: %s. What helps: %s" % (name, server.url, text, cure)
    )


def pull_to_success(server, name, origin, disk, tell):
    """Pull, and resume it while that brings new bytes."""
    failures = 0
    while True:
        pull = Pull(origin)
        tell(pull)
        try:
            return stream_pull(server, name, pull, disk, tell)
        except PullBrokenError as interruption:
            failures = 1 if pull.received else failures + 1
            if failures >= ATTEMPTS:
                there = "at %.1f of %.1f GB" % (pull.completed / GIGA, pull.total / GIGA)
                raise SourceError(
                    "model %s: %s gave up after %d attempts without a new byte, %s. Last: %s. What helps: %s"
                    % (name, server.url, failures, there, interruption, CURE_UNKNOWN)
                )
        pause(failures)


def fetch(server, name, mirrors, disk, tell, done):
    """Bring one model: from the first mirror that has it, else from the registry its name points to."""
    for mirror in mirrors if library_address(name) else []:
        if not mirror_has(mirror, name):
            continue
        there = mirrored_name(name, mirror)
        try:
            pull_to_success(server, there, mirror, disk, tell)
        except SourceError as failure:
            done["given_up"].append(str(failure))
            continue
        # Both names share one set of blobs, so this copies a file of a few hundred bytes.
        server.copy(there, name)
        server.delete(there)
        done["copied"].append("%s from %s" % (name, mirror))
        return
    pull_to_success(server, name, "", disk, tell)


# ---------------------------------------------------------------- wanted against installed


def to_remove(tags, models, mirrors=()):
    """Names to delete: unwanted models, and what a run that ended amid a copy left below a mirror's name."""
    unwanted = [m["name"] for m in models if m["state"] == "absent" and normalise(m["name"]) in tags]
    own = [m["name"] for m in models if normalise(m["name"]) in tags and library_address(m["name"])]
    copies = [mirrored_name(name, mirror) for name in own for mirror in mirrors]
    return unwanted + [name for name in copies if normalise(name) in tags]


def to_pull(tags, models, aliases):
    """Names of the models the server must fetch, those behind aliases first: they are asked for most."""
    wanted = {normalise(target) for target in aliases.values()}
    missing = [m["name"] for m in models if m["state"] == "present" and normalise(m["name"]) not in tags]
    return sorted(missing, key=lambda name: normalise(name) not in wanted)


def to_alias(tags, aliases):
    """(alias, model) pairs whose digests differ."""
    return [
        (alias, target)
        for alias, target in sorted(aliases.items())
        if normalise(target) not in tags or tags.get(normalise(alias)) != tags[normalise(target)]
    ]


def listing(tags, models, aliases):
    """Text of the diff: the models and aliases of the task that are there, one a line, with short digests."""
    names = {normalise(name) for name in [model["name"] for model in models] + list(aliases)}
    return "".join("%s %s\n" % (name, tags[name][:12]) for name in sorted(names & set(tags)))


def predict(server, tags, params, disk):
    """Return (tags as they would be, what would be done). Raises ModelError if that is impossible."""
    models, aliases = params["models"], params["aliases"]
    removed, pulled = to_remove(tags, models, params["mirrors"]), to_pull(tags, models, aliases)
    after = dict(tags)
    for name in removed:
        del after[normalise(name)]
    after.update((normalise(name), "(pulled)") for name in pulled)
    missing = ["%s -> %s" % pair for pair in sorted(aliases.items()) if normalise(pair[1]) not in after]
    if missing:
        raise ModelError(
            "alias %s: %s will not have this model. Add it to `models`, or choose one of: %s"
            % (", ".join(missing), server.url, ", ".join(sorted(after)) or "none")
        )
    if disk and pulled:
        disk.require_all(models, pulled)
    made = to_alias(after, aliases)
    after.update((normalise(alias), after[normalise(target)]) for alias, target in made)
    return after, {"removed": removed, "pulled": pulled, "aliased": ["%s -> %s" % pair for pair in made]}


# ---------------------------------------------------------------- the background process


class Progress:
    """The progress file. The background process holds its lock as long as it lives, and writes into it:

    before: the tags at its beginning; done: the lists of the result; progress: as in the result, or None;
    ended: whether it came to its end; error: what went wrong, or None.
    """

    def __init__(self, path):
        """Open the file, which need not exist."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        self._written = 0.0
        self.told = {}

    def lock(self):
        """Take the lock and return True, or return False while another process has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self):
        """Give the lock back, unless a process that was forked from this one has it."""
        os.close(self._file)

    def read(self):
        """Return what was written and not reported."""
        self.told = {"before": None, "progress": None, "ended": False, "error": None}
        self.told["done"] = {key: [] for key in REPORTED}
        try:
            self.told.update(json.loads(os.pread(self._file, 1 << 20, 0).decode("utf-8")))
        except ValueError:
            pass  # empty, or just being written
        return self.told

    def write(self, **told):
        """Change what is told."""
        self.told.update(told)
        self._written = time.monotonic()
        content = json.dumps(self.told).encode("utf-8")
        # Never shorter than before: who reads meanwhile gets all of it.
        os.pwrite(self._file, content.ljust(os.fstat(self._file).st_size), 0)

    def forget(self):
        """Take all as reported."""
        self.told = {}
        self.write(ended=True)

    def of_pull(self, model, pull):
        """Tell where a pull stands, no more often than others look."""
        if not self.told["progress"] or time.monotonic() - self._written >= LOOK_S:
            total = pull.total or int((model["size_gb"] or 0) * GIGA)
            pulled = {"completed": pull.completed, "total": total, "rate": pull.rate}
            self.write(progress=dict(pulled, model=model["name"], origin=pull.origin))


def make_aliases(server, aliases, done):
    """Make the aliases that are missing or point elsewhere."""
    for alias, target in to_alias(server.tags(), aliases):
        server.copy(target, alias)
        done["aliased"].append("%s -> %s" % (alias, target))


def converge(server, params, todo, disk, progress):
    """Remove, pull, alias, in this order: deleting makes room, and an alias needs its model."""
    models, aliases, done = params["models"], params["aliases"], progress.told["done"]
    for name in todo["removed"]:
        server.delete(name)
        done["removed"].append(name)
    if disk and todo["pulled"]:
        disk.require_all(models, todo["pulled"])
    declared = {model["name"]: model for model in models}
    for name in todo["pulled"]:
        fetch(server, name, params["mirrors"], disk, partial(progress.of_pull, declared[name]), done)
        if normalise(name) not in server.tags():
            raise ModelError(
                "model %s: %s reported success but does not list it; look at its log" % (name, server.url)
            )
        done["pulled"].append(name)
        progress.write(progress=None)
        # At once: the other models may take hours.
        make_aliases(server, {a: t for a, t in aliases.items() if normalise(t) == normalise(name)}, done)
    make_aliases(server, aliases, done)


def work(module, server, todo, progress):
    """Bring the models to the wanted state; what happens is told in the progress file."""
    error = None
    try:
        disk = Disk(module) if module.params["volume"] else None
        converge(server, module.params, todo, disk, progress)
    except ModelError as failure:
        error = str(failure)
    except Exception:
        error = "a fault of the module ollama_model: %s" % traceback.format_exc()
    progress.write(error=error, progress=None, ended=True)


def detach(task):
    """Run a function in a background process, which outlives this one and keeps its open files."""
    if fork_process() == 0:
        try:
            task()
        finally:
            os._exit(0)


# ---------------------------------------------------------------- the result


def finished(params, before, after, done):
    """Return the result of what was done, or would be."""
    models, aliases = params["models"], params["aliases"]
    diff = {"before": listing(before, models, aliases), "after": listing(after, models, aliases)}
    changed = bool(done["removed"] or done["pulled"] or done["aliased"])
    return dict({key: done.get(key, []) for key in REPORTED}, finished=True, changed=changed, diff=diff)


def begin_or_watch(module, server, progress):
    """Begin what is to be done, or watch who does it already; return the result.

    With `watch_s` this call follows another: what went wrong meanwhile is told, and not tried again.
    """
    params = module.params
    deadline = time.monotonic() + params["watch_s"]
    while not progress.lock():
        if time.monotonic() >= deadline:
            told = progress.read()
            return dict(told["done"], finished=False, progress=told["progress"] or NOTHING_YET)
        time.sleep(LOOK_S)
    told = progress.read()
    error = told["error"]
    if told["before"] is not None and not told["ended"]:
        error = "the process that pulls was killed; run the playbook again: it goes on where it stopped"
    tags = server.tags()
    before = tags if told["before"] is None else told["before"]
    if params["watch_s"] and error:
        progress.forget()
        return dict(finished(params, before, tags, told["done"]), failed=True, msg=error)
    todo = predict(server, tags, params, None)[1]
    if not any(todo.values()):
        progress.forget()
        return finished(params, before, tags, told["done"])
    progress.write(before=before, progress=None, ended=False, error=None)
    detach(lambda: work(module, server, todo, progress))
    return dict(told["done"], finished=False, progress=NOTHING_YET)


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
                    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                    "size_gb": {"type": "float"},
                    "loaded_gb": {"type": "float"},
                },
            },
            "aliases": {"type": "dict", "default": {}},
            "mirrors": {"type": "list", "elements": "str", "default": []},
            "volume": {"type": "str"},
            "disk_reserve_gb": {"type": "float", "default": 2},
            "progress_file": {"type": "path", "required": True},
            "wait": {"type": "bool", "default": True},
            "watch_s": {"type": "float", "default": 0},
        },
        supports_check_mode=True,
    )
    params = module.params
    progress = None
    try:
        wrong = mistakes(params["models"], params["aliases"])
        if wrong:
            raise ModelError("; ".join(wrong))
        server = Server(params["url"])
        if module.check_mode:
            tags = server.tags()
            disk = Disk(module) if params["volume"] else None
            result = finished(params, tags, *predict(server, tags, params, disk))
        else:
            progress = Progress(params["progress_file"])
            result = begin_or_watch(module, server, progress)
    except ModelError as failure:
        result = {"failed": True, "msg": str(failure)}
    finally:
        if progress:
            progress.close()
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
