"""What services, files and folders of the node show when a request asks for them."""

import os
import stat

from . import system
from .local_http import http_json


def probe(subject):
    """Return what the node shows of `subject`.

    http://<address>:<port>/<path>  the JSON a service answers on the node itself, or None
    /<path> or ~<user>/<path>       the text of a file; empty where it is missing, and where a user's file, or
                                    its folder, belongs to somebody else or is open to others
    /<path>/                        the paths in a folder that not everyone may read
    """
    if subject.endswith("/") and "://" not in subject:
        return unreadable(subject)
    if "://" not in subject:
        path = os.path.expanduser(subject)
        home = os.path.expanduser(subject.partition("/")[0])
        return "" if home and not is_private(path, home) else system.read_text(path)
    server, _, path = subject.partition("://")[2].partition("/")
    host, _, port = server.partition(":")
    return http_json((host, int(port or 80)), "/" + path)


def is_private(path, home):
    """Return whether a file and its folder belong to the owner of `home` and are closed to others."""
    try:
        owner, *found = [os.stat(place) for place in (home, path, os.path.dirname(path))]
    except OSError:
        return False
    return all(one.st_uid == owner.st_uid and not one.st_mode & 0o077 for one in found)


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
