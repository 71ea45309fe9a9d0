# SPDX-License-Identifier: Apache-2.0
"""The one archive that a node gets."""

import base64
import io
import tarfile
from collections.abc import Iterable

from .files import File


def pack(files: Iterable[File]) -> str:
    """Return a base64 tar.gz of the files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for file in files:
            member = tarfile.TarInfo(file.path.lstrip("/"))
            member.size, member.mode = len(file.content), int(file.mode, 8)
            member.uid, member.gid = file.uid, file.gid
            tar.addfile(member, io.BytesIO(file.content))
    return base64.b64encode(buffer.getvalue()).decode()
