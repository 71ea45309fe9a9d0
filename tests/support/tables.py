"""A test as a table: one case a row, under the sentence that names it."""

from collections.abc import Mapping
from typing import Any

import pytest


def cases(names: str | tuple[str, ...], rows: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Run a test for each row with these arguments; the key is its id."""
    return pytest.mark.parametrize(names, list(rows.values()), ids=list(rows))
