"""The command line: `serve`, and the few client commands health checks and people use."""

from __future__ import annotations

import importlib
import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from . import VERSION

USAGE = "usage: ollama serve | list | rm MODEL | --version"


def call(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the JSON the server answers. Raises SystemExit with its error."""
    port = os.environ.get("OLLAMA_HOST", ":11434").rpartition(":")[2]
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=3600) as answer:
            found: dict[str, Any] = json.loads(answer.read() or "{}")
            return found
    except urllib.error.HTTPError as refused:
        sys.exit(f"Error: {json.loads(refused.read()).get('error')}")
    except OSError as problem:
        sys.exit(f"Error: could not connect to the server: {problem}")


def show_models() -> None:
    """Print the names of the models."""
    for model in call("GET", "/api/tags")["models"]:
        print(model["name"])


def serve() -> None:
    """Run the server; the client commands, which health checks run every few seconds, do not load it."""
    importlib.import_module("ollama_standin.server").serve()


def main(arguments: list[str]) -> None:
    """Run one command."""
    commands: dict[tuple[str, int], Callable[..., object]] = {
        ("serve", 0): serve,
        ("list", 0): show_models,
        ("rm", 1): lambda name: call("DELETE", "/api/delete", {"model": name}),
        ("--version", 0): lambda: print(f"ollama version is {VERSION} (stand-in)"),
    }
    command, *rest = arguments or [""]
    if (command, len(rest)) not in commands:
        sys.exit(USAGE)
    commands[(command, len(rest))](*rest)


if __name__ == "__main__":
    main(sys.argv[1:])
