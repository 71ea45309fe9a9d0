"""The mirror serves a model of the Ollama beside it whole and byte by byte, and nothing else."""

import hashlib
import json
from typing import List, Tuple

from aicluster_verify import CheckError, Kit

MANIFESTS = "/ollama/models/manifests/registry.ollama.ai"
# Bytes of a layer that are fetched as a pulling node fetches them: a part of it.
PART = 64


def check(kit: Kit) -> str:
    """Fetch a manifest and a part of a layer; try to write, and to read the private key beside the models."""
    closed(kit)
    models = there(kit)
    if not models:
        return "answers; Ollama beside it has no model yet"
    name, path, digest = models[0]
    manifest = kit.expect(kit.url("model_mirror", "registry", "/v2/" + path)).body
    if hashlib.sha256(manifest).hexdigest() != digest:
        raise CheckError("the manifest of %s is not the one Ollama has" % name)
    content = json.loads(manifest.decode())
    repository = path.rpartition("/manifests/")[0]
    for layer in [content["config"]] + content["layers"]:
        part(kit, repository, layer["digest"], int(layer["size"]))
    return "%d models to copy; %s with all its layers" % (len(models), name)


def there(kit: Kit) -> List[Tuple[str, str, str]]:
    """Return (model, path below /v2/, digest) of what Ollama's folder holds, in the order of names."""
    command = 'cd %s 2>/dev/null && find . -type f ! -name ".*" -exec sha256sum {} +' % MANIFESTS
    listed = kit.execute("model_mirror", ["sh", "-c", "%s; true" % command])
    found = []
    for line in listed.splitlines():
        digest, file = line.split(None, 1)
        namespace, model, tag = file.split("/")[-3:]
        name = "%s:%s" % (model if namespace == "library" else "%s/%s" % (namespace, model), tag)
        found.append((name, "%s/%s/manifests/%s" % (namespace, model, tag), digest))
    return sorted(found)


def part(kit: Kit, repository: str, digest: str, size: int) -> None:
    """Ask for the last bytes of a layer, and for the Location without which Ollama gives up."""
    url = kit.url("model_mirror", "registry", "/v2/%s/blobs/%s" % (repository, digest))
    begin = max(0, size - PART)
    answer = kit.expect(url, status=206, headers={"Range": "bytes=%d-%d" % (begin, size - 1)})
    total = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    if len(answer.body) != size - begin or total != str(size):
        raise CheckError("layer %s of %s has %s bytes, not %d" % (digest[7:19], repository, total, size))
    if not answer.headers.get("Location"):
        raise CheckError("layer %s of %s comes without a Location" % (digest[7:19], repository))


def closed(kit: Kit) -> None:
    """See that nothing can be written, and nothing but models be read."""
    for method, path, expected in (
        ("POST", "/v2/library/x/blobs/uploads/", 405),
        ("DELETE", "/v2/library/x/manifests/latest", 405),
        ("GET", "/id_ed25519", 404),
    ):
        answer = kit.http(kit.url("model_mirror", "registry", path), method=method)
        if answer.status != expected:
            raise CheckError("%s %s answers %d, not %d" % (method, path, answer.status, expected))
