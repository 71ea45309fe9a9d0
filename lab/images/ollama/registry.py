#!/usr/bin/env python3
"""The internet of the lab's Ollama: a proxy on loopback, behind it the public registry with made-up models.

It has every model whose name does not begin with `missing`; layers depend on the name alone. A number in the
file ~/.ollama/lab/pull-bytes-per-s limits the rate of a layer, from then on.
"""

import json
import re
import ssl
import struct
import time
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HOST, PORT = "registry.ollama.ai", 3128
CERTIFICATE = Path(__file__).with_name("registry.pem")
# Of a tiny real model, where the image has one.
WEIGHTS = Path(__file__).with_name("weights.gguf")
RATE = Path.home() / ".ollama" / "lab" / "pull-bytes-per-s"
UNPUBLISHED = "missing"
LAYER_BYTES = 256 * 1024
CHUNK, STEP_S = 32 * 1024, 0.05
TOOLS = b"{{ if .Tools }}<|tools|>{{ json .Tools }}<|end|>{{ end }}"
TEMPLATE = b"{{ range .Messages }}<|{{ .Role }}|>{{ .Content }}<|end|>{{ end }}"
# How a name begins -> tokens of context, and what the model can do.
KINDS = {
    "codellama": (16384, []),
    "deepseek-r1": (131072, ["thinking"]),
    "gemma3": (131072, ["vision"]),
    "gpt-oss": (131072, ["thinking", "tools"]),
    "llama3.2-vision": (131072, ["vision"]),
    "llama3": (131072, ["tools"]),
    "mistral": (32768, ["tools"]),
    "nomic-embed": (2048, ["embedding"]),
    "phi4": (16384, []),
    "qwen2.5": (32768, ["tools"]),
    "qwen3": (40960, ["thinking", "tools"]),
    "": (131072, []),
}
BLOBS: dict[str, bytes] = {}
"""digest -> content of the layers of every model that was asked for."""


def text(value: str) -> bytes:
    """Return a string as GGUF writes it."""
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(seed: bytes, context: int, abilities: list[str]) -> bytes:
    """Return weights that Ollama can read: a header, keys, one tensor."""
    keys = {"block_count": 1, "context_length": context, "embedding_length": 8, "attention.head_count": 1}
    if "embedding" in abilities:
        keys["pooling_type"] = 1
    pairs = [text("general.architecture") + struct.pack("<I", 8) + text("llama")]
    pairs += [text(f"llama.{key}") + struct.pack("<II", 4, value) for key, value in keys.items()]
    pairs += [text("tokenizer.ggml.model") + struct.pack("<I", 8) + text("llama")]
    tensor = text("token_embd.weight") + struct.pack("<IQIQ", 1, LAYER_BYTES // 4, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return head + bytes(-len(head) % 32) + seed * (LAYER_BYTES // len(seed))


def manifest(model: str, tag: str) -> bytes:
    """Return the manifest of a model, whose layers can be had from then on."""
    seed = sha256(f"{model}:{tag}".encode()).digest()
    name = model.rpartition("/")[2]
    context, abilities = next(kind for begin, kind in KINDS.items() if name.startswith(begin))
    template = TOOLS * ("tools" in abilities) + TEMPLATE
    config = {"model_format": "gguf", "model_family": "llama", "model_type": "65K", "file_type": "F32"}

    def layer(media: str, content: bytes) -> dict[str, object]:
        digest = f"sha256:{sha256(content).hexdigest()}"
        BLOBS[digest] = content
        return {"mediaType": media, "digest": digest, "size": len(content)}

    weights = WEIGHTS.read_bytes() + seed if WEIGHTS.exists() else gguf(seed, context, abilities)
    media = "application/vnd.ollama.image."
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": layer(
                "application/vnd.docker.container.image.v1+json",
                json.dumps({**config, "capabilities": abilities}).encode(),
            ),
            "layers": [layer(f"{media}model", weights), layer(f"{media}template", template)],
        }
    ).encode()


def rate() -> float:
    """Return the bytes per second of a layer; 0: no limit."""
    try:
        return float(RATE.read_text())
    except (OSError, ValueError):
        return 0


class Handler(BaseHTTPRequestHandler):
    """The proxy, and after CONNECT the registry."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing: Ollama's log tells what fails."""

    def do_CONNECT(self) -> None:
        """Become the registry."""
        if self.path != f"{HOST}:443":
            self.send_error(502, f"the lab's internet has no {self.path}")
            return
        self.send_response(200)
        self.end_headers()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        self.request = context.wrap_socket(self.request, server_side=True)
        self.setup()

    def do_GET(self) -> None:
        """Send a manifest, or a layer from where it is wanted."""
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", self.path)
        if found and found[2] == "manifests" and not found[1].rpartition("/")[2].startswith(UNPUBLISHED):
            self.send(manifest(found[1], found[3]))
        elif found and found[3] in BLOBS:
            self.send(BLOBS[found[3]])
        else:
            self.send_error(404)

    def do_HEAD(self) -> None:
        """Tell of it."""
        self.do_GET()

    def send(self, content: bytes) -> None:
        """Send content, or a range of it at the pace that is set. Without a Location Ollama would give up."""
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        begin, end = (int(wanted[1]), int(wanted[2]) + 1) if wanted else (0, len(content))
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("Location", self.path)
        self.end_headers()
        saved = 0.0
        while self.command == "GET" and begin < end:
            limit = rate() if wanted else 0
            saved += limit * STEP_S
            size = min(end - begin, int(saved) if limit else CHUNK)
            try:
                self.wfile.write(content[begin : begin + size])
            except OSError:  # Ollama reads only the head of the first answer
                self.close_connection = True
                return
            begin, saved = begin + size, saved % 1
            time.sleep(STEP_S if limit else 0)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
