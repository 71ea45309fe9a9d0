"""Models on disk in Ollama's layout: `manifests/<host>/<namespace>/<model>/<tag>`, `blobs/sha256-<hex>`."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from .names import Name, parse


@dataclass(frozen=True)
class Model:
    """An installed model; `digest` is the hex sha256 of its manifest file."""

    name: Name
    manifest: dict[str, Any]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of all its layers."""
        return sum(int(layer["size"]) for layer in [self.manifest["config"], *self.manifest["layers"]])

    @property
    def digests(self) -> set[str]:
        """Its blobs, each as `sha256:<hex>`."""
        return {str(layer["digest"]) for layer in [self.manifest["config"], *self.manifest["layers"]]}


class Store:
    """The models directory. Every call reads the disk: models copied in from elsewhere show at once."""

    def __init__(self, root: Path) -> None:
        """Use `root` (OLLAMA_MODELS)."""
        self._manifests, self._blobs = root / "manifests", root / "blobs"
        self._manifests.mkdir(parents=True, exist_ok=True)
        self._blobs.mkdir(parents=True, exist_ok=True)
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def lock(self, digest: str) -> asyncio.Lock:
        """Return the lock under which a blob is written."""
        return self._locks[digest]

    def blob(self, digest: str, suffix: str = "") -> Path:
        """Path of a blob, given as `sha256:<hex>`."""
        return self._blobs / (digest.replace(":", "-") + suffix)

    def get(self, name: Name) -> Model | None:
        """Return the model, or None."""
        path = self._manifests / name.path
        if not path.is_file():
            return None
        content = path.read_bytes()
        return Model(name, json.loads(content), sha256(content).hexdigest())

    def all(self) -> Iterator[Model]:
        """Yield every model."""
        for path in self._manifests.rglob("[!.]*"):
            name = path.relative_to(self._manifests)
            if path.is_file() and (model := self.get(parse(f"{name.parent}:{name.name}"))):
                yield model

    def write(self, name: Name, content: bytes) -> None:
        """Put a manifest in place; the model exists from then on."""
        path = self._manifests / name.path
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}")
        temporary.write_bytes(content)
        temporary.replace(path)

    def copy(self, source: Name, destination: Name) -> bool:
        """Give a model a second name; False if there is no such model."""
        path = self._manifests / source.path
        if not path.is_file():
            return False
        self.write(destination, path.read_bytes())
        return True

    def delete(self, name: Name) -> bool:
        """Remove a model and those of its blobs that no other model uses; False if there is no such model."""
        model = self.get(name)
        if model is None:
            return False
        (self._manifests / name.path).unlink()
        used = {digest for other in self.all() for digest in other.digests}
        for digest in model.digests - used:
            self.blob(digest).unlink(missing_ok=True)
        return True
