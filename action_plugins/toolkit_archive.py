# SPDX-License-Identifier: Apache-2.0
"""Packs the toolkit and the Python it runs on, on the controller; options in library/toolkit_archive.py."""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import IO, Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import filter_loader

# The same archive from the same files: when they were checked out does not matter.
LONG_AGO = 1_577_836_800  # 2020-01-01


def member_of(name: str, path: Path) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file or link as a member of the archive, owned by root, and its content."""
    member = tarfile.TarInfo(name)
    member.mtime = LONG_AGO
    if path.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        return member, b""
    content = path.read_bytes()
    member.size, member.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
    return member, content


def pack(files: Mapping[str, Path], links: Mapping[str, str], target: IO[bytes]) -> None:
    """Write a tar.gz of files (path inside -> file here) and links (path inside -> where it leads)."""
    with tarfile.open(fileobj=target, mode="w:gz", compresslevel=6) as tar:
        # Folders that are not in it would be made with the umask of whoever unpacks it.
        for folder in sorted({str(up) for name in (*files, *links) for up in PurePosixPath(name).parents}):
            member = tarfile.TarInfo(folder)
            member.mtime, member.type, member.mode = LONG_AGO, tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, path in sorted(files.items()):
            member, content = member_of(name, path)
            tar.addfile(member, io.BytesIO(content))
        for name, leads_to in sorted(links.items()):
            member = tarfile.TarInfo(name)
            member.mtime, member.type, member.linkname = LONG_AGO, tarfile.SYMTYPE, leads_to
            tar.addfile(member)


def archive_of(files: Mapping[str, Path], links: Mapping[str, str]) -> str:
    """Return the path of a new archive where Ansible's own temporary files lie."""
    with NamedTemporaryFile(dir=constants.DEFAULT_LOCAL_TMP, suffix=".tar.gz", delete=False) as target:
        pack(files, links, target)
    return target.name


class ActionModule(ActionBase):
    """Ansible's entry point."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _VALID_ARGS = frozenset({"links", "secret"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write two archives, the toolkit and what it runs on; they are gone when the run ends."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        # Filter files have no import path: the loader has them as modules.
        toolkit = sys.modules[filter_loader.get("toolkit_digest").j2_function.__module__]
        links = {**(self._task.args.get("links") or {}), "lib": f"../../lib/{toolkit.library_digest()}"}
        return {
            **result,
            "changed": False,
            "path": archive_of(toolkit.own_files(toolkit.ROOT, self._task.args["secret"]), links),
            "library_path": archive_of(toolkit.library_files(), {}),
            "library_digest": toolkit.library_digest(),
        }
