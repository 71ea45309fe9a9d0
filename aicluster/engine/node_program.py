# SPDX-License-Identifier: Apache-2.0
"""The node's half of the engine as text: what a node runs is sent with each question."""

from __future__ import annotations

import base64
import json
import zlib
from functools import cache
from pathlib import Path

MODULES = Path(__file__).resolve().parents[2] / "module_utils" / "aicluster_node"


@cache
def sources() -> str:
    """Return base64 of zlib of JSON: dotted module name -> source text."""
    texts = {
        "aicluster_node" if path.stem == "__init__" else f"aicluster_node.{path.stem}": path.read_text()
        for path in sorted(MODULES.glob("*.py"))
    }
    return base64.b64encode(zlib.compress(json.dumps(texts).encode())).decode()
