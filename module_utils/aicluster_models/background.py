"""The background process that brings models to a server, and the file that tells of it."""

import fcntl
import json
import os
import traceback

from ansible.module_utils.service import fork_process

from .disk import require_all
from .names import normalise
from .plan import to_alias, to_pull, to_remove
from .pull import Puller
from .server import ModelError


class Progress:
    """The progress file. The background process holds its lock as long as it lives, and writes into it.

    told: {removed, pulled, aliased, messages: as in the result, until a task has reported them;
    progress: a line about the present pull, empty once the process has ended; error: why it failed, or None}.
    """

    def __init__(self, path):
        """Open the file, which need not exist."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
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
        """Return what is told."""
        self.told = {"removed": [], "pulled": [], "aliased": [], "messages": []}
        self.told.update(progress="", error=None)
        try:
            self.told.update(json.loads(os.pread(self._file, 1 << 20, 0).decode("utf-8")))
        except ValueError:
            pass  # empty, or just being written
        return self.told

    def write(self, **told):
        """Change what is told."""
        self.told.update(told)
        content = json.dumps(self.told).encode("utf-8")
        # Never shorter than before: who reads meanwhile gets all of it.
        os.pwrite(self._file, content.ljust(os.fstat(self._file).st_size), 0)

    def add(self, key, text):
        """Add to one of the lists."""
        self.told[key].append(text)
        self.write()

    def forget(self):
        """Take all as reported."""
        os.ftruncate(self._file, 0)


def detach(task):
    """Run a function in a background process, which outlives this one and keeps its open files."""
    if fork_process() == 0:
        try:
            task()
        finally:
            os._exit(0)


def work(server, params, folder, progress):
    """Bring the server to the wanted state; what happens is told in the progress file."""
    error = None
    try:
        converge(server, params, folder, progress)
    except ModelError as failure:
        error = str(failure)
    except Exception:
        error = "a fault of the module ollama_model: %s" % traceback.format_exc()
    progress.write(error=error, progress="")


def converge(server, params, folder, progress):
    """Remove, pull, alias, in this order: deleting makes room, and an alias needs its model."""
    models, aliases, tags = params["models"], params["aliases"], server.tags()
    for name in to_remove(tags, models, params["mirrors"]):
        server.delete(name)
        progress.add("removed", name)
    missing = to_pull(tags, models, aliases)
    require_all(folder, missing)
    for model in missing:
        Puller(server, folder, progress).fetch(model, params["mirrors"])
        progress.add("pulled", model["name"])
        # At once: the other models may take hours.
        key = normalise(model["name"])
        make_aliases(
            server, {a: target for a, target in aliases.items() if normalise(target) == key}, progress
        )
    make_aliases(server, aliases, progress)


def make_aliases(server, aliases, progress):
    """Make the aliases that are missing or point elsewhere."""
    for alias, target in to_alias(server.tags(), aliases):
        server.copy(target, alias)
        progress.add("aliased", "%s -> %s" % (alias, target))
