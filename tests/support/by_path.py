"""Import a Python file by its path: two plugins may bear one name, as Ansible wants it."""

import importlib.util
import sys
from importlib.machinery import SourceFileLoader
from typing import Any

from tree import ROOT


def import_file(path: str, name: str) -> Any:
    """The module in the file `path` below the root, known as `name` from then on (dataclasses look it up)."""
    # A program may have no ending.
    loader = SourceFileLoader(name, str(ROOT / path))
    spec = importlib.util.spec_from_file_location(name, loader=loader)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
