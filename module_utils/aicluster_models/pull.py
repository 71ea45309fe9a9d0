"""Pulls a model to `success`, from a mirror or from the registry its name points to."""

import http.client
import json
import socket
import time

from .disk import GIGA, remove_unreadable, require
from .names import name_on, public_address
from .server import ATTEMPTS, JSON, ModelError, connect, mirror_has, pause

MEGA = 1e6
# Without a new byte or another status for so long, a pull has stalled.
STALL_S = 60
# The server is silent while it computes the checksums of what it downloaded.
VERIFY_S = 1800

# What the server says if trying again cannot help -> what a person can do about it.
CURES = {
    "invalid model name": "write it as in `ollama pull`: [host/][namespace/]model[:tag]",
    "no space left": "the disk of the models is full: take models off ollama_models, or give it more room",
    "newer version of ollama": "this model needs a newer Ollama: raise its image in the service catalogue",
    "file does not exist": "the registry has no such model: look up name and tag on https://ollama.com/library",
    "unauthorized": "the registry wants a login: use a public model or a mirror",
    "no location header": "a mirror must send a Location header with blobs: see roles/ollama/README.md",
    "digest mismatch": "damaged bytes came and are deleted: run the playbook again; look at proxies between",
}


class PullBrokenError(Exception):
    """A pull that ended without `success` and may be tried again."""


class Pull:
    """What the lines of one pull stream tell: a status, and bytes per layer."""

    def __init__(self, label, declared):
        """Start the clock of the rate. `label` is for people, `declared` the bytes while none are known."""
        self._label = label
        self.status = ""
        self.completed = self.received = self._most = 0
        self.total = declared
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

    def __str__(self):
        """Say 'gpt-oss: 34 % of 13.8 GB, 22.1 MB/s, 7 min left'."""
        if not self.total:
            return "%s: about to start" % self._label
        percent = 100 * self.completed // self.total
        size = "%s: %d %% of %.1f GB" % (self._label, percent, self.total / GIGA)
        rate = self.received / max(time.monotonic() - self._began, 0.001)
        if rate < 1:
            return size
        minutes = (self.total - self.completed) / rate / 60
        left = "%.0f min left" % minutes if minutes >= 1 else "less than a minute left"
        return "%s, %.1f MB/s, %s" % (size, rate / MEGA, left)


class Puller:
    """Pulls models into one server; checks the disk at each layer, and writes its progress."""

    def __init__(self, server, folder, progress):
        """Take the server, the folder of its models, and the progress file."""
        self._server, self._folder, self._progress = server, folder, progress

    def fetch(self, model, mirrors):
        """Bring one model: from the first mirror that has it, else from the registry its name points to."""
        name, declared = model["name"], int((model.get("size_gb") or 0) * GIGA)
        reasons = []
        for mirror in mirrors if public_address(name) else []:
            there = name_on(mirror, name)
            try:
                if not mirror_has(mirror, name):
                    continue
                self._pull(there, "%s from %s" % (name, mirror), declared, insecure=True)
            except ModelError as failure:
                reasons.append("not from a mirror: %s" % failure)
                self._progress.add("messages", reasons[-1])
                continue
            # Both names share one set of blobs, so this copies a file of a few hundred bytes.
            self._server.copy(there, name)
            self._server.delete(there)
            self._progress.add("messages", "%s is there, copied from %s" % (name, mirror))
            return
        try:
            self._pull(name, name, declared)
        except ModelError as failure:
            raise ModelError("; ".join([str(failure)] + reasons))
        self._progress.add("messages", "%s is there" % name)

    def _pull(self, name, label, declared, insecure=False):
        """Pull, and resume it while that brings new bytes. Raises ModelError."""
        failures = 0
        while True:
            pull = Pull(label, declared)
            try:
                return self._stream(name, pull, insecure)
            except PullBrokenError as interruption:
                last = interruption
            failures = 1 if pull.received else failures + 1
            if failures >= ATTEMPTS:
                came = "%.1f of %.1f GB" % (pull.completed / GIGA, pull.total / GIGA)
                raise ModelError(
                    "model %s: %s gave up after %d attempts without a new byte, at %s. Last: %s. What helps: "
                    "check the way of the node to the model registry, then run the playbook again: it resumes"
                    % (name, self._server.url, failures, came, last)
                )
            pause(failures)

    def _stream(self, name, pull, insecure):
        """Pull once, to `success`, or raise. Leaving the stream ends the download; what came stays."""
        self._progress.write(progress=str(pull))
        body = json.dumps({"model": name, "insecure": insecure})
        limit, last_news = STALL_S, time.monotonic()
        try:
            with connect(self._server.address, limit) as connection:
                connection.request("POST", "/api/pull", body, JSON)
                # The response may detach the socket from the connection, so keep hold of it.
                sock = connection.sock
                response = connection.getresponse()
                while pull.status != "success":
                    raw = response.readline()
                    if not raw:
                        raise PullBrokenError("the stream ended without `success`")
                    before = pull.standing
                    self._take(json.loads(raw.decode("utf-8")), name, pull)
                    limit = VERIFY_S if pull.status.startswith("verifying") else STALL_S
                    sock.settimeout(limit)
                    if pull.standing != before:
                        last_news = time.monotonic()
                    elif time.monotonic() - last_news >= limit:
                        raise socket.timeout
        except socket.timeout:
            raise PullBrokenError("no new byte for %g s" % limit)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PullBrokenError("%s: %s" % (type(error).__name__, error))

    def _take(self, line, name, pull):
        """Take in one line. Raises ModelError if trying again cannot help, else PullBrokenError."""
        if "error" in line:
            text = str(line["error"])
            for known, cure in CURES.items():
                if known in text.lower():
                    raise ModelError(
                        "model %s: %s cannot pull it. The server said: %s. What helps: %s"
                        % (name, self._server.url, text, cure)
                    )
            for layer in [] if pull.received else remove_unreadable(self._folder):
                self._progress.add(
                    "messages", "%s: layer %s begins anew, its parts were damaged" % (name, layer)
                )
            raise PullBrokenError("the server said: %s" % text)
        to_come = pull.read(line)
        if to_come:
            what = "model %s stopped before its layer %s" % (name, line["digest"][7:19])
            require(self._folder, to_come, what)
        self._progress.write(progress=str(pull))
