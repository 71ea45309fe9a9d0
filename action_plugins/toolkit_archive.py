# SPDX-License-Identifier: Apache-2.0
"""Packs the toolkit and the Python it runs on, on the controller; options in library/toolkit_archive.py."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase

from aicluster.toolkit import files as toolkit
from aicluster.toolkit.archive import pack


def archive_of(files: Mapping[str, Path], links: Mapping[str, str]) -> str:
    """Return the path of a new archive where Ansible's own temporary files lie."""
    with NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar.gz", delete=False) as target:
        pack(files, links, target)
    return target.name


class ActionModule(ActionBase):
    """Ansible's entry point."""

    _requires_connection = False
    _VALID_ARGS = frozenset({"links", "secret"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write two archives, the toolkit and what it runs on; they are gone when the run ends."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        links = {**(self._task.args.get("links") or {}), "lib": f"../../lib/{toolkit.library_digest()}"}
        return {
            **result,
            "changed": False,
            "path": archive_of(toolkit.own_files(toolkit.ROOT, self._task.args["secret"]), links),
            "library_path": archive_of(toolkit.library_files(), {}),
            "library_digest": toolkit.library_digest(),
        }
