"""What a run without changes costs, next to other ways of checking the same."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# It measures the lab, and reads the site as the tests do.
sys.path += [str(ROOT / folder) for folder in ("lab", "tests/support", "filter_plugins")]
