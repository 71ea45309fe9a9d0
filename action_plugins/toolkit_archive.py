"""Packs the toolkit and the Python it runs on, on the controller; options in library/toolkit_archive.py."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ansible import constants

from aicluster.adapters.node_action import NodeAction
from aicluster.toolkit import files as toolkit
from aicluster.toolkit.archive import pack


def archive_of(files: Mapping[str, Path], links: Mapping[str, str]) -> str:
    """Return the path of a new archive where Ansible's own temporary files lie."""
    with NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar.gz", delete=False) as target:
        pack(files, links, target)
    return target.name


class ActionModule(NodeAction):
    """See the module's documentation: `ansible-doc -t module toolkit_archive`."""

    PREDICTS = True
    _requires_connection = False

    def act(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Write two archives, the toolkit and what it runs on; they are gone when the run ends."""
        links = {**options["links"], "lib": f"../../lib/{toolkit.library_digest()}"}
        return {
            "changed": False,
            "path": archive_of(toolkit.own_files(toolkit.ROOT, options["secret"]), links),
            "library_path": archive_of(toolkit.library_files(), {}),
            "library_digest": toolkit.library_digest(),
        }
