"""Pulling a model: the stream of progress lines, resumed where the last client hung up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from .names import Name
from .published import digest_of
from .sources import MadeUp, PullError, Remote, source_of
from .store import Store

# Bytes per second, asked anew before each wait; 0 = no limit.
Rate = Callable[[], int]


async def pull(
    store: Store, name: Name, rate: Rate, *, insecure: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """Yield progress lines; the last is `success`, or an `error`."""
    yield {"status": "pulling manifest"}
    try:
        async with source_of(name, insecure=insecure) as source:
            content = await source.manifest()
            for digest in digests(content):
                async for line in pull_blob(store, source, digest, rate):
                    yield line
    except PullError as problem:
        yield {"error": str(problem)}
        return
    yield {"status": "verifying sha256 digest"}
    yield {"status": "writing manifest"}
    store.write(name, content)
    yield {"status": "success"}


def digests(manifest: bytes) -> list[str]:
    """Return the digests a manifest names, in the order Ollama fetches them. Raises PullError."""
    try:
        content = json.loads(manifest)
        return [str(layer["digest"]) for layer in [*content["layers"], content["config"]]]
    except (ValueError, KeyError, TypeError) as problem:
        raise PullError(f"pull model manifest: {problem}") from problem


async def pull_blob(
    store: Store, source: MadeUp | Remote, digest: str, rate: Rate
) -> AsyncIterator[dict[str, Any]]:
    """Yield progress of one blob; a partial file stays behind when the client goes away. Raises PullError."""
    done, partial = store.blob(digest), store.blob(digest, "-partial")
    status: dict[str, Any] = {"status": f"pulling {digest[7:19]}", "digest": digest}
    # Whoever comes second waits and finds the blob.
    async with store.lock(digest):
        if not done.exists():
            status["total"] = total = await source.size(digest)
            partial.touch()
            completed = partial.stat().st_size
            yield {**status, "completed": completed} if completed else status
            if completed < total:
                async for piece in source.blob(digest, completed):
                    kept = piece[: total - completed]
                    with partial.open("ab") as file:
                        file.write(kept)
                    completed += len(kept)
                    yield {**status, "completed": completed}
                    if completed == total:
                        break
                    await wait(len(kept), rate)
            if completed < total:
                raise PullError("max retries exceeded: unexpected EOF")
            if (got := digest_of(partial.read_bytes())) != digest:
                partial.unlink()
                raise PullError(f"digest mismatch, file must be downloaded again: want {digest}, got {got}")
            partial.rename(done)
    size = done.stat().st_size
    yield {**status, "total": size, "completed": size}


async def wait(size: int, rate: Rate) -> None:
    """Wait as long as `size` bytes take, or until the rate is lifted."""
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0)
    while (limit := rate()) and asyncio.get_running_loop().time() < began + size / limit:
        await asyncio.sleep(min(0.5, size / limit))
