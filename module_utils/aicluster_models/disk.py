"""Is there room for models on the disk of their folder?"""

import glob
import json
import os
import shutil

from .server import ModelError

GIGA = 1e9
# Bytes that stay free for everybody else.
RESERVE = 2 * GIGA


def require(folder, needed, what):
    """Raise ModelError if `needed` bytes more do not fit; `what` is the sentence's subject."""
    room = max(0, shutil.disk_usage(folder).free - RESERVE)
    if needed > room:
        raise ModelError(
            "%s, %.1f GB to come: must fit into the %.1f GB that the disk of %s has left beside a "
            "reserve of %.1f GB; free some there, take models off ollama_models, or move Docker's data "
            "to a bigger disk" % (what, needed / GIGA, room / GIGA, folder, RESERVE / GIGA)
        )


def remove_unreadable(folder):
    """Remove the parts of each layer that has an unreadable note of its progress; return these layers.

    A server that is stopped while it writes a note leaves it empty, and then answers each pull with `EOF`.
    """
    removed = []
    for note in glob.glob(os.path.join(folder, "models", "blobs", "sha256-*-partial-*")):
        layer = note.rpartition("-partial-")[0]
        try:
            with open(note) as file:
                json.load(file)
        except ValueError:
            for part in glob.glob(layer + "-partial*"):
                os.unlink(part)
            removed.append(os.path.basename(layer)[7:19])
        except OSError:  # gone with another of its layer
            continue
    return removed


def require_all(folder, models, leaving=()):
    """Raise ModelError if these models do not fit by their declared sizes, once others have left."""
    sizes = [(model["name"], model.get("size_gb") or 0) for model in models]
    freed = sum(model.get("size_gb") or 0 for model in leaving)
    # Partial layers are sparse files: only written blocks count.
    partial = glob.glob(os.path.join(folder, "models", "blobs", "sha256-*-partial"))
    written = sum(os.stat(file).st_blocks * 512 for file in partial)
    require(
        folder,
        (sum(size for _name, size in sizes) - freed) * GIGA - written,
        "pull refused before the first byte (%s GB, %.1f of it there in part)"
        % (" + ".join("%s %.1f" % one for one in sizes), written / GIGA),
    )
