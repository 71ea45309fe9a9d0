# SPDX-License-Identifier: Apache-2.0
"""The folders of files: made before a file, and removed with the last one."""

import os

from . import system
from .files import folder_mode, own_folders


def make_parents(path, uid, gid, below=""):
    """Make the parents of `path`, those of the project with their modes; others' stay as they are.

    `below`: a folder that stands for the root of the file system.
    """
    parent = os.path.dirname(path)
    if not os.path.isdir(below + parent):
        make_parents(parent, uid, gid, below)
        os.mkdir(below + parent, 0o755)
    for folder in own_folders(path):
        os.chmod(below + folder, folder_mode(folder))
    if os.path.basename(parent) == "secrets":
        os.chown(below + parent, uid, gid)


def remove_empty_parents(path):
    """Remove the folders that `path` leaves empty: the project's, and those of a unit's drop-in files."""
    parent = os.path.dirname(path)
    ours = (system.STACK_ROOT, system.UNITS + "/")
    while parent.startswith(ours) and os.path.isdir(parent) and not os.listdir(parent):
        os.rmdir(parent)
        parent = os.path.dirname(parent)
