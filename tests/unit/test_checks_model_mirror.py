"""The check of the mirror: what it takes for a model that can be copied, and what for a hole."""

import hashlib
import json
from typing import Any

import pytest
from a_kit import ScriptedKit, check_of, site
from aicluster_verify import CheckError

mirror = check_of("model_mirror")
LAYERS = {"config": b"{}", "model": b"GGUF" * 100}
DIGESTS = {kind: "sha256:" + hashlib.sha256(content).hexdigest() for kind, content in LAYERS.items()}
MANIFEST = json.dumps(
    {
        "config": {"digest": DIGESTS["config"], "size": len(LAYERS["config"])},
        "layers": [{"digest": DIGESTS["model"], "size": len(LAYERS["model"])}],
    }
)
FILE = "./library/phi3/mini"
LISTED = f"{hashlib.sha256(MANIFEST.encode()).hexdigest()}  {FILE}\n"


def layer(kind: str, **changes: Any) -> Any:
    """What a layer answers to a question for its last bytes; `location` and `size` can be wrong."""

    def answer(_data: Any, sent: Any) -> Any:
        first, last = sent["Range"].removeprefix("bytes=").split("-")
        assert int(last) == len(LAYERS[kind]) - 1
        size = changes.get("size", len(LAYERS[kind]))
        headers = [("Content-Range", f"bytes {first}-{last}/{size}")]
        if changes.get("location", True):
            headers.append(("Location", "/here"))
        return 206, LAYERS[kind][int(first) :], *headers

    return answer


GOOD: dict[str, Any] = {
    "POST /v2/library/x/blobs/uploads/": (405, ""),
    "DELETE /v2/library/x/manifests/latest": (405, ""),
    "GET /id_ed25519": (404, ""),
    "GET /v2/library/phi3/manifests/mini": (200, MANIFEST),
    f"GET /v2/library/phi3/blobs/{DIGESTS['config']}": layer("config"),
    f"GET /v2/library/phi3/blobs/{DIGESTS['model']}": layer("model"),
}


def check(changed: Any = None, said: str = LISTED) -> str:
    where = site("AGX0", {"model_mirror": {"registry": 80}})
    return str(mirror.check(ScriptedKit(where, GOOD | (changed or {}), {"model_mirror: *": said})))


FAILED: dict[str, tuple[Any, ...]] = {
    "another manifest": ("GET /v2/library/phi3/manifests/mini", (200, MANIFEST + " "),
        "the manifest of phi3:mini is not the one Ollama has"),
    "no Location": (f"GET /v2/library/phi3/blobs/{DIGESTS['model']}", layer("model", location=False),
        "comes without a Location"),
    "a layer of another size": (f"GET /v2/library/phi3/blobs/{DIGESTS['model']}", layer("model", size=7),
        "has 7 bytes, not 400"),
    "something can be deleted": ("DELETE /v2/library/x/manifests/latest", (202, ""), "DELETE"),
    "the key is served": ("GET /id_ed25519", (200, "key"), "GET /id_ed25519 answers 200"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "says", "evidence"), FAILED.values(), ids=FAILED)
def test_what_is_wrong_is_named(path, says, evidence):
    with pytest.raises(CheckError, match=evidence):
        check({path: says})
