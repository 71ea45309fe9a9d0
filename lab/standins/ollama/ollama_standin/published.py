"""What the made-up model registry holds: any name, with small layers that follow from the name alone."""

from __future__ import annotations

import json
from hashlib import sha256

from .names import Name

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LAYER_TYPE = "application/vnd.ollama.image."
WEIGHTS_BYTES = 256 * 1024
# Names that begin so are not published: the way to see what happens to a misspelt model.
UNPUBLISHED = "missing"


def blobs_of(layers: dict[str, bytes]) -> dict[str, bytes]:
    """Return digest -> content of a model's layers."""
    return {digest_of(content): content for content in layers.values()}


def layers_of(name: Name) -> dict[str, bytes] | None:
    """Return kind -> content of a published model's layers, or None for a name the registry does not know."""
    if name.model.startswith(UNPUBLISHED):
        return None
    seed = sha256(str(name.path).encode()).digest()
    config = {"model_format": "gguf", "model_family": name.model, "model_type": name.tag, "file_type": "Q4_0"}
    return {
        "config": json.dumps(config).encode(),
        "model": (b"GGUF" + seed * (WEIGHTS_BYTES // len(seed) + 1))[:WEIGHTS_BYTES],
        "template": b"{{ .System }} {{ .Prompt }}" + seed[:4].hex().encode(),
        "params": b'{"stop":["<|end|>"]}' + seed[4:8].hex().encode(),
    }


def digest_of(content: bytes) -> str:
    """Return `sha256:<hex>`."""
    return f"sha256:{sha256(content).hexdigest()}"


def manifest_of(layers: dict[str, bytes]) -> bytes:
    """Return the manifest file of a model with these layers."""

    def entry(kind: str, media: str) -> dict[str, object]:
        return {"mediaType": media, "digest": digest_of(layers[kind]), "size": len(layers[kind])}

    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": entry("config", "application/vnd.docker.container.image.v1+json"),
            "layers": [entry(kind, LAYER_TYPE + kind) for kind in layers if kind != "config"],
        }
    ).encode()
