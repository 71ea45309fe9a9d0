"""What a run without changes costs, next to other ways of checking the same."""

import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# It measures the lab, and reads the site as the tests do: from the same folders.
_PYTEST = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
sys.path += [str(ROOT / folder) for folder in _PYTEST["pythonpath"]]
