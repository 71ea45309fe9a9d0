"""An object is written, read and removed by a user with few rights; the console answers."""

import os

from aicluster_backup_kept import require_files
from aicluster_backup_tools import mountpoint
from aicluster_verify import CheckError, Kit, Seen


def check(kit: Kit) -> Seen:
    """The user is the store's own in the catalogue; the key is unique to this run."""
    kit.expect(kit.url("minio", "api", "/images/?list-type=2"), status=403)
    content = "aicluster verify %s %s" % (kit.run_id, kit.node)
    key = ".verify/%s" % kit.run_id
    answer = kit.execute("minio", ["/opt/aicluster/bin/round-trip", key], stdin=content)
    if answer != content:
        raise CheckError("wrote %r and read %r" % (content, answer[:200]))
    seen = "object of %d bytes written, read and removed; strangers refused" % len(content)
    if kit.services["minio"]["ports"]["console"]["published"]:
        page = kit.expect(kit.url("minio", "console"))
        if "<title>" not in page.text:
            raise CheckError("the console shows no page: %r" % page.text[:200])
        seen += "; console answers"
    # An object is a folder below that of its bucket.
    top = mountpoint("minio_data")
    for name in sorted(name for name in os.listdir(top) if name[0] != "."):
        place, path = os.path.join(top, name), "/staging/minio/" + name
        require_files("minio", "bucket " + name, place, path, "bucket=" + name)
    return kit.certificate("minio", "api", seen)
