"""Files of the toolkit as one archive, the same from the same files."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

# When they were checked out does not matter.
LONG_AGO = 1_577_836_800  # 2020-01-01


def member_of(name: str, path: Path | bytes) -> tuple[tarfile.TarInfo, bytes]:
    """Return a file or link as a member of the archive of root, and its content; bytes are a secret."""
    member = tarfile.TarInfo(name)
    member.mtime = LONG_AGO
    if isinstance(path, bytes):
        member.size, member.mode = len(path), 0o600
        return member, path
    if path.is_symlink():
        member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
        return member, b""
    content = path.read_bytes()
    member.size, member.mode = len(content), 0o755 if path.stat().st_mode & 0o100 else 0o644
    return member, content


def pack(files: Mapping[str, Path | bytes], links: Mapping[str, str], target: IO[bytes]) -> None:
    """Write a tar.gz of files (path inside -> file here, or content) and links (-> where it leads)."""
    # Without the time of packing.
    zipped = gzip.GzipFile(fileobj=target, mode="wb", compresslevel=6, mtime=0)
    with zipped, tarfile.open(fileobj=zipped, mode="w") as tar:
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
