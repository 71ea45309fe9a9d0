"""The node's half of the engine, as each request carries it."""

import base64
import json
import zlib
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "module_utils" / "aicluster_node"


@cache
def sources() -> str:
    """Return base64 of the zipped JSON {dotted module name: source}, as library/stack_node.py takes it."""
    modules = {
        PACKAGE.name if path.stem == "__init__" else f"{PACKAGE.name}.{path.stem}": path.read_text()
        for path in sorted(PACKAGE.glob("*.py"))
    }
    return base64.b64encode(zlib.compress(json.dumps(modules).encode(), 9)).decode()
