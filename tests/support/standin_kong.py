"""The stand-in for Kong on this machine, with the settings of the container that ships."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import render
from standins.kong.kong_standin.config import parse
from standins.kong.kong_standin.schema import PLUGINS
from standins.kong.kong_standin.server import Server
from standins.kong.kong_standin.settings import settings_of

FREE_PORTS = {f"KONG_{listener}_LISTEN": "127.0.0.1:0" for listener in ("PROXY", "STATUS", "ADMIN")}


def environment() -> dict[str, str]:
    found: dict[str, str] = render.container("kong")["environment"]
    return {name: value.replace("$$", "$") for name, value in found.items()}


@asynccontextmanager
async def serving(text: str) -> AsyncIterator[tuple[Server, str]]:
    """The gateway with a kong.yml, and its address."""
    server = Server(settings_of(environment() | FREE_PORTS), parse(text, PLUGINS))
    await server.start()
    try:
        yield server, f"http://127.0.0.1:{server.runners[0].addresses[0][1]}"
    finally:
        await server.end()
