"""Pulling a model: the stream of progress lines, resumed where the last client hung up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from .names import Name
from .published import digest_of, layers_of, manifest_of
from .store import Store

CHUNK_BYTES = 32 * 1024


async def pull(store: Store, name: Name, bytes_per_second: int) -> AsyncIterator[dict[str, Any]]:
    """Yield progress lines; the last is `success`, or an `error`. `bytes_per_second` 0 = no limit."""
    yield {"status": "pulling manifest"}
    layers = layers_of(name)
    if layers is None:
        yield {"error": "pull model manifest: file does not exist"}
        return
    for content in [*(layers[kind] for kind in layers if kind != "config"), layers["config"]]:
        async for line in pull_blob(store, content, bytes_per_second):
            yield line
            if "error" in line:
                return
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    store.write(name, manifest_of(layers))
    yield {"status": "success"}


async def pull_blob(store: Store, content: bytes, bytes_per_second: int) -> AsyncIterator[dict[str, Any]]:
    """Yield progress of one blob; a partial file stays behind when the client goes away."""
    digest, total = digest_of(content), len(content)
    done, partial = store.blob(digest), store.blob(digest, "-partial")
    status = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": total}
    # Whoever comes second waits and finds the blob.
    async with store.lock(digest):
        if not done.exists():
            completed = partial.stat().st_size if partial.exists() else 0
            yield {**status, "completed": completed} if completed else status
            while completed < total:
                chunk = content[completed : completed + CHUNK_BYTES]
                with partial.open("ab") as file:
                    file.write(chunk)
                completed += len(chunk)
                yield {**status, "completed": completed}
                await asyncio.sleep(len(chunk) / bytes_per_second if bytes_per_second else 0)
            if (got := digest_of(partial.read_bytes())) != digest:
                partial.unlink()
                text = f"digest mismatch, file must be downloaded again: want {digest}, got {got}"
                yield {"error": text}
                return
            partial.rename(done)
    yield {**status, "completed": total}
