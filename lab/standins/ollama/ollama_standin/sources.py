"""Where a model is pulled from: the made-up public registry, or a real one on the network, over http."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urljoin

import aiohttp

from .names import HOST, Name
from .published import MANIFEST_TYPE, blobs_of, layers_of, manifest_of

CHUNK_BYTES = 32 * 1024
NOT_FOUND = "file does not exist"
NO_LOCATION = "http: no Location header in response"
TIMEOUT = aiohttp.ClientTimeout(total=None, connect=10, sock_read=30)


class PullError(Exception):
    """A pull that failed, in Ollama's words."""


class MadeUp:
    """The public registry, as `published` makes it up."""

    def __init__(self, name: Name) -> None:
        """Offer one model."""
        self._layers = layers_of(name)
        self._blobs = blobs_of(self._layers or {})

    async def manifest(self) -> bytes:
        """Return the manifest."""
        if self._layers is None:
            raise PullError(f"pull model manifest: {NOT_FOUND}")
        return manifest_of(self._layers)

    async def size(self, digest: str) -> int:
        """Return the bytes of a blob."""
        return len(self._blobs[digest])

    async def blob(self, digest: str, start: int) -> AsyncIterator[bytes]:
        """Yield a blob in pieces."""
        content = self._blobs[digest]
        for begin in range(start, len(content), CHUNK_BYTES):
            yield content[begin : begin + CHUNK_BYTES]


class Remote:
    """A registry on the network, asked as Ollama does: HEAD for the size, GET for a Location, GET a Range."""

    def __init__(self, session: aiohttp.ClientSession, name: Name) -> None:
        """Ask the host in the model's name, in plain http."""
        self._session = session
        self._url = f"http://{name.host}/v2/{name.namespace}/{name.model}"
        self._tag = name.tag

    async def manifest(self) -> bytes:
        """Return the manifest."""
        try:
            headers = {"Accept": MANIFEST_TYPE}
            async with self._session.get(f"{self._url}/manifests/{self._tag}", headers=headers) as answer:
                await refuse(answer)
                return await answer.read()
        except (aiohttp.ClientError, TimeoutError, PullError) as problem:
            raise PullError(f"pull model manifest: {problem or type(problem).__name__}") from problem

    async def size(self, digest: str) -> int:
        """Return the bytes of a blob."""
        try:
            async with self._session.head(f"{self._url}/blobs/{digest}") as answer:
                await refuse(answer)
                return int(answer.headers.get("Content-Length", 0))
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise PullError(str(problem) or type(problem).__name__) from problem

    async def blob(self, digest: str, start: int) -> AsyncIterator[bytes]:
        """Yield a blob in pieces, taken as they come: a server that knows no Range gives a damaged blob."""
        url = f"{self._url}/blobs/{digest}"
        try:
            async with self._session.get(url) as first:
                await refuse(first)
                if "Location" not in first.headers:
                    raise PullError(NO_LOCATION)
                direct = urljoin(url, first.headers["Location"])
                first.close()
            async with self._session.get(direct, headers={"Range": f"bytes={start}-"}) as answer:
                async for piece in answer.content.iter_chunked(CHUNK_BYTES):
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as problem:
            raise PullError(f"max retries exceeded: {problem or type(problem).__name__}") from problem


async def refuse(answer: aiohttp.ClientResponse) -> None:
    """Raise PullError for an answer that is none, in Ollama's words."""
    if answer.status == HTTPStatus.NOT_FOUND:
        raise PullError(NOT_FOUND)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise PullError(f"{answer.status}: {await answer.text()}")


@asynccontextmanager
async def source_of(name: Name, *, insecure: bool) -> AsyncIterator[MadeUp | Remote]:
    """Give the registry a model name points to. Only the public one can be had without `insecure`."""
    if name.host == HOST:
        yield MadeUp(name)
    elif insecure:
        # Bytes are wanted as they lie there.
        async with aiohttp.ClientSession(timeout=TIMEOUT, auto_decompress=False) as session:
            yield Remote(session, name)
    else:
        url = f"https://{name.host}/v2/{name.namespace}/{name.model}/manifests/{name.tag}"
        raise PullError(f'pull model manifest: Get "{url}": http: server gave HTTP response to HTTPS client')
