"""The node's system: paths that several modules use, commands, and reading and replacing files."""

import os
import subprocess

STACK_ROOT = "/opt/aicluster"
PROJECT = "aicluster"
UNITS = "/etc/systemd/system"
# Metrics of our programs for Prometheus, each named after its unit: aicluster_textfile.py.
METRICS = "/var/lib/prometheus/node-exporter"
ENGINE_UNIT = "docker"
DAEMON_FILE = "/etc/docker/daemon.json"


class RefusedError(Exception):
    """A file was refused; nothing has been replaced."""


def run(command):
    """Return stdout of a command, or an empty string when it is missing or fails to start."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    except OSError:
        return ""
    return done.stdout.decode("utf-8", "replace")


def read_text(path):
    """Return the text of a file, or an empty string when it is missing."""
    try:
        # Files of others may hold any bytes.
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""


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
